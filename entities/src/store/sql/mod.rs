//! From what to read to one SQL statement: the only place that knows how a property is stored.
//!
//! [`compile`] is pure: a [`Read`] in, a [`Statement`] out, for Postgres or SQLite. The statement answers with one row of one
//! column of JSON text, as the head of [`crate::klass::query`] says; no row means `null`.
//!
//! How a statement looks, and why:
//! - **Limit first.** A page is a base select (filter, order, limit: columns only) in `from`, around which the JSON is built, so
//!   that nothing is built for a row that is not answered.
//! - **Correlated sub-selects** bring what hangs on a row: to-one by primary key, to-many as a page of its own. At most 201 rows
//!   stand on a page, so an index look-up for each beats any join, and its plan does not change with the data.
//! - **Every value is a bind**, of a type said in the statement (`$2::uuid`), so the plan is stable and a text serves all values.
//!   A list is one bind: an array on Postgres, a JSON array read by `json_each` on SQLite. Only paths into JSON are literals
//!   (else no index on an expression would serve), and the limits that are known when the plan is made.
//! - **Two-valued.** A comparison with null is not true; `not` is `is not true`, so the reader in memory need not know SQL's third value.
//! - **An org sees itself only.** Every shared table, link tables too, is bound by `org_id`, the first bind.
//!
//! Text sorts and compares byte by byte on SQLite and in memory, on Postgres by the database's collation: make the database with
//! `C.UTF-8` (`create database klio template template0 locale 'C.UTF-8'`) where both must agree to the letter, and for speed.
//!
//! Aliases: `t1, t2, …` objects, `t1x` extension table, `t1l` link table, `p1` a page's rows, `k1` the first key of its order.

mod aggregate;
pub(crate) mod bind;
mod filter;
mod page;
mod part;
mod relate;
mod scope;
mod timeline;
mod value;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::klass::query::{Key, Output, Read};
use crate::klass::{Klass, Registry};
use crate::store::Dialect;

pub use bind::{Bind, BindError, Form, Source};
use scope::Scope;
use writer::Writer;

/// A statement, ready to be run any number of times: its text, and what is bound to it in which form.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The text. `$1`, `$2`, … on Postgres, `?1`, `?2`, … on SQLite.
    pub sql: Arc<str>,
    /// For each parameter, what is bound to it. The first is the org.
    pub binds: Arc<[Bind]>,
}

/// Compiles a read into one statement. The registry is the one from which the read was made; it tells the tables of klasses that
/// the read names only through an end (an order's `through`).
pub fn compile(dialect: Dialect, registry: &Registry, read: &Read) -> Statement {
    let mut writer = Writer::new(dialect, registry);
    let sql = match read {
        Read::One {
            klass,
            key,
            deleted,
            outputs,
        } => one(&mut writer, klass, key, *deleted, outputs),
        Read::Page(page) => {
            let json = page::page(&mut writer, page, None);
            format!("select {}", writer.top(&json))
        }
        Read::Many {
            klass,
            ids,
            deleted,
            outputs,
        } => {
            let mut scope = Scope::table(&mut writer, klass, *deleted);
            let id = scope.id();
            scope.conditions.push(writer.in_list(&id, ids, &Form::Id));
            let row = value::row(&mut writer, &mut scope, outputs, &[]);
            let rows = writer.rows(&row);
            format!("select {}{}", writer.top(&rows), scope.source(&writer))
        }
        Read::Timeline { customer, page } => {
            let customer = writer.operand(customer, Form::Id);
            let json = timeline::timeline(&mut writer, &customer, page);
            format!("select {}", writer.top(&json))
        }
    };
    writer.finish(sql)
}

fn one(writer: &mut Writer<'_>, klass: &Arc<Klass>, key: &Key, deleted: bool, outputs: &[Output]) -> String {
    let mut scope = Scope::table(writer, klass, deleted);
    let condition = match key {
        Key::Id(operand) => {
            let id = scope.id();
            format!("{id} = {}", writer.operand(operand, Form::Id))
        }
        Key::Unique(property, operand) => filter::equals(writer, &mut scope, property, operand),
        Key::Contact(kind, operand) => filter::contact(writer, &mut scope, *kind, operand, false),
    };
    scope.conditions.push(condition);
    let row = value::row(writer, &mut scope, outputs, &[]);
    format!("select {}{} limit 1", writer.top(&row), scope.source(writer))
}
