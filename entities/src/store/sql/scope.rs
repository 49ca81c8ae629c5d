//! Where the columns of an object stand in a statement.

use std::sync::Arc;

use crate::klass::Klass;
use crate::klass::property::Home;

use super::writer::{Writer, quote};

/// An object within a statement: its table, what is joined to it, and under which conditions.
///
/// Filters and orders read columns from the tables (`t1."name"`). What is answered is read from there too, or, on a page, from
/// the page's rows (`p1."name"`): then each column that is asked for is noted, and the base select brings it.
pub(super) struct Scope {
    pub klass: Arc<Klass>,
    /// Alias of the klass's table.
    pub alias: String,
    /// Alias of the link table through which it was reached.
    pub link: Option<String>,
    /// The item of a list that is being looked at, as JSON.
    pub item: Option<String>,
    /// What stands in `from` beside the extension table.
    pub from: String,
    /// Left joins (ends that an order follows).
    pub joins: Vec<String>,
    /// What must hold.
    pub conditions: Vec<String>,
    /// The extension table is needed.
    extended: bool,
    /// On a page: the alias of its rows.
    page: Option<String>,
    /// On a page: expression and name of each column that the base select brings.
    picks: Vec<(String, String)>,
}

impl Scope {
    /// All objects of a klass.
    pub fn table(writer: &mut Writer<'_>, klass: &Arc<Klass>, deleted: bool) -> Self {
        let alias = writer.table_alias();
        let from = format!("{} {alias}", writer.table(&klass.table));
        let mut scope = Self::over(writer, klass, alias, from, deleted);
        scope.conditions = visible(writer, klass, &scope.alias, deleted, false);
        scope
    }

    /// A klass's table that stands in a `from` made elsewhere, reached from another object.
    pub fn over(writer: &Writer<'_>, klass: &Arc<Klass>, alias: String, from: String, deleted: bool) -> Self {
        let conditions = visible(writer, klass, &alias, deleted, true);
        Self {
            klass: klass.clone(),
            alias,
            link: None,
            item: None,
            from,
            joins: Vec::new(),
            conditions,
            extended: false,
            page: None,
            picks: Vec::new(),
        }
    }

    /// From here on, what is read is read from the rows of a page.
    pub fn turn_page(&mut self, alias: String) {
        self.page = Some(alias);
    }

    /// A column of the object.
    pub fn column(&mut self, home: Home, column: &str) -> String {
        let (alias, name) = match home {
            Home::Table => (self.alias.clone(), quote(column)),
            Home::Extension => {
                self.extended = true;
                (format!("{}x", self.alias), quote(&format!("x.{column}")))
            }
        };
        let expr = format!("{alias}.{}", quote(column));
        self.pick(expr, name)
    }

    /// A column of the link through which the object was reached. Without a link: null.
    pub fn link_column(&mut self, column: &str) -> String {
        match &self.link {
            Some(link) => {
                let expr = format!("{link}.{}", quote(column));
                self.pick(expr, quote(&format!("l.{column}")))
            }
            None => "null".to_owned(),
        }
    }

    /// The object's id.
    pub fn id(&mut self) -> String {
        self.column(Home::Table, "id")
    }

    /// An expression over the tables, as it is read from here.
    pub fn pick(&mut self, expr: String, name: String) -> String {
        let Some(page) = &self.page else { return expr };
        let out = format!("{page}.{name}");
        if !self.picks.iter().any(|(_, n)| *n == name) {
            self.picks.push((expr, name));
        }
        out
    }

    /// The join of the extension table, where a column of it was asked for. (A property at home in a table that is not there: the
    /// registry never makes one, and the database would say so.)
    pub fn extension_join(&self, writer: &Writer<'_>) -> Option<String> {
        let table = self.klass.extension.as_ref().filter(|_| self.extended)?;
        Some(format!(
            "left join {} {1}x on {1}x.\"id\" = {1}.\"id\"",
            writer.table(table),
            self.alias
        ))
    }

    /// ` from … where …`, complete once everything that is read has been asked for.
    pub fn source(&self, writer: &Writer<'_>) -> String {
        self.source_and(writer, &[])
    }

    /// The same under more conditions.
    pub fn source_and(&self, writer: &Writer<'_>, more: &[String]) -> String {
        let mut out = format!(" from {}", self.from);
        if let Some(join) = self.extension_join(writer) {
            out.push(' ');
            out.push_str(&join);
        }
        for join in &self.joins {
            out.push(' ');
            out.push_str(join);
        }
        let conditions: Vec<&str> = self.conditions.iter().chain(more).map(String::as_str).collect();
        if !conditions.is_empty() {
            out.push_str(" where ");
            out.push_str(&conditions.join(" and "));
        }
        out
    }

    /// The base select's list.
    pub fn picks(&self) -> String {
        if self.picks.is_empty() {
            return "1 as \"one\"".to_owned();
        }
        let picks: Vec<String> = self.picks.iter().map(|(expr, name)| format!("{expr} as {name}")).collect();
        picks.join(", ")
    }
}

/// The conditions under which an object of a klass may be seen at all. `reached`: it is found from another object, by id or link.
pub(super) fn visible(writer: &Writer<'_>, klass: &Klass, alias: &str, deleted: bool, reached: bool) -> Vec<String> {
    let mut out = Vec::with_capacity(2);
    if klass.table.shared {
        // SQLite, without statistics, would rather walk all of the org's objects in the order that is wanted; `+` keeps it to the link.
        let plus = if reached && !writer.postgres() { "+" } else { "" };
        out.push(format!("{plus}{alias}.\"org_id\" = {}", writer.org()));
    }
    if !deleted {
        out.push(format!("{alias}.\"deleted_at\" is null"));
    }
    out
}
