//! What writes a statement: its binds, its aliases, and the words in which the two databases differ.

use crate::klass::filter::Operand;
use crate::klass::registry::Table;
use crate::klass::{Registry, Value};
use crate::store::Dialect;

use super::Statement;
use super::bind::{Bind, Form, Source};

/// The state of a statement in the making.
pub(super) struct Writer<'a> {
    pub dialect: Dialect,
    pub registry: &'a Registry,
    binds: Vec<Bind>,
    tables: usize,
    pages: usize,
}

impl<'a> Writer<'a> {
    pub fn new(dialect: Dialect, registry: &'a Registry) -> Self {
        let org = Bind {
            source: Source::Org,
            form: Form::Id,
        };
        Self {
            dialect,
            registry,
            binds: vec![org],
            tables: 0,
            pages: 0,
        }
    }

    pub fn finish(self, sql: String) -> Statement {
        Statement {
            sql: sql.into(),
            binds: self.binds.into(),
        }
    }

    pub fn postgres(&self) -> bool {
        self.dialect == Dialect::Postgres
    }

    /// The next alias of a table.
    pub fn table_alias(&mut self) -> String {
        self.tables += 1;
        format!("t{}", self.tables)
    }

    /// The next alias of a page's rows.
    pub fn page_alias(&mut self) -> String {
        self.pages += 1;
        format!("p{}", self.pages)
    }

    /// A parameter; the same source in the same form is bound once.
    pub fn bind(&mut self, source: Source, form: Form) -> String {
        let cast = form.postgres_type();
        let bind = Bind { source, form };
        let index = match self.binds.iter().position(|b| *b == bind) {
            Some(index) => index,
            None => {
                self.binds.push(bind);
                self.binds.len() - 1
            }
        } + 1;
        if self.postgres() {
            format!("${index}::{cast}")
        } else {
            format!("?{index}")
        }
    }

    /// A parameter for an operand.
    pub fn operand(&mut self, operand: &Operand, form: Form) -> String {
        let source = match operand {
            Operand::Const(value) => Source::Const(value.clone()),
            Operand::Arg(index) => Source::Arg(*index),
        };
        self.bind(source, form)
    }

    /// A parameter for a text that is known when the plan is made.
    pub fn text(&mut self, text: &str) -> String {
        self.bind(Source::Const(Value::String(text.to_owned())), Form::Text)
    }

    /// The org's parameter.
    pub fn org(&self) -> &'static str {
        if self.postgres() { "$1::uuid" } else { "?1" }
    }

    /// How many rows to read: one more than asked for.
    pub fn limit(&mut self, limit: &Operand) -> String {
        match limit {
            // A number in the text tells the planner how much is wanted; it is an integer, so nothing can be spliced.
            Operand::Const(Value::Integer(n)) => (n.saturating_add(1)).max(0).to_string(),
            other => format!("{} + 1", self.operand(other, Form::Integer)),
        }
    }

    /// A table's name.
    pub fn table(&self, table: &Table) -> String {
        match (&table.schema, self.postgres()) {
            (None, _) => quote(&table.name),
            (Some(schema), true) => format!("{}.{}", quote(schema), quote(&table.name)),
            (Some(schema), false) => quote(&format!("{schema}__{}", table.name)),
        }
    }

    /// A JSON array of these.
    pub fn array(&self, items: &[String]) -> String {
        // Postgres takes 100 arguments, SQLite (as built here) 1,000.
        let most = if self.postgres() { 100 } else { 1000 };
        let make = if self.postgres() { "json_build_array" } else { "json_array" };
        if items.len() <= most {
            return format!("{make}({})", items.join(", "));
        }
        // Longer ones are pieces without their brackets, put together as text: rare, and no other way keeps the array flat.
        let pieces: Vec<String> = items
            .chunks(most)
            .map(|piece| {
                let text = format!("{make}({})", piece.join(", "));
                if self.postgres() {
                    format!("substr({text}::text, 2, length({text}::text) - 2)")
                } else {
                    format!("substr({text}, 2, length({text}) - 2)")
                }
            })
            .collect();
        let text = format!("'[' || {} || ']'", pieces.join(" || ',' || "));
        if self.postgres() {
            format!("({text})::json")
        } else {
            format!("json({text})")
        }
    }

    /// The JSON array of all rows of a select: `[row, …]`.
    pub fn rows(&self, row: &str) -> String {
        if self.postgres() {
            format!("coalesce(json_agg({row}), '[]')")
        } else {
            format!("json_group_array({row})")
        }
    }

    /// The column with which a statement answers.
    pub fn top(&self, json: &str) -> String {
        if self.postgres() {
            format!("({json})::text")
        } else {
            json.to_owned()
        }
    }

    /// An id as JSON.
    pub fn id_json(&self, id: &str, nullable: bool) -> String {
        match (self.postgres(), nullable) {
            (true, _) => id.to_owned(),
            (false, false) => format!("hex({id})"),
            // hex(null) is an empty string.
            (false, true) => format!("nullif(hex({id}), '')"),
        }
    }

    /// `expr` is one of the items of a list operand. Null is in no list.
    pub fn in_list(&mut self, expr: &str, operand: &Operand, form: &Form) -> String {
        let list = self.operand(operand, Form::List(Box::new(form.clone())));
        if self.postgres() {
            format!("{expr} = any({list})")
        } else {
            let value = form.json_each_item("value");
            format!("{expr} in (select {value} from json_each({list}))")
        }
    }

    /// An e-mail address is one of a list.
    pub fn mail_in_list(&mut self, expr: &str, operand: &Operand) -> String {
        let list = self.operand(operand, Form::List(Box::new(Form::Text)));
        let items = if self.postgres() {
            format!("select {} from unnest({list}) x", self.mail("x"))
        } else {
            format!("select {} from json_each({list})", self.mail("value"))
        };
        format!("{} in ({items})", self.mail(expr))
    }

    /// An e-mail address as it is compared: in lower case, in the very words of the indexes.
    pub fn mail(&self, expr: &str) -> String {
        if self.postgres() {
            format!("lower({expr})")
        } else {
            format!("fold({expr})")
        }
    }

    /// Text in lower case. The column's collation may be "C", which knows ASCII alone, so the database's own is named.
    pub fn fold(&self, expr: &str) -> String {
        if self.postgres() {
            format!("lower({expr} collate \"default\")")
        } else {
            format!("fold({expr})")
        }
    }
}

/// An identifier.
pub(super) fn quote(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    out.push('"');
    for c in name.chars() {
        if c == '"' {
            out.push('"');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// A text literal: for paths into JSON alone.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars().filter(|c| *c != '\0') {
        if c == '\'' {
            out.push('\'');
        }
        out.push(c);
    }
    out.push('\'');
    out
}

/// All of these, or nothing to ask.
pub(super) fn all(conditions: &[String]) -> String {
    conditions.join(" and ")
}
