//! What would be done for an operation, in the API's own terms: its cost, its statements, by which properties' indexes they find
//! objects, and which properties would help if they were indexed.

use std::sync::Arc;
use std::time::Duration;

use klio_entities::klass::filter::{Filter, Op, Quantifier, Target};
use klio_entities::klass::query::{Order, OrderBy, Output, Page, Read};
use klio_entities::klass::relationship::Link;
use klio_entities::klass::{Actor, Kind, Klass, ObjectId, Value};
use klio_entities::store::explain::{Explained, How, names};
use klio_entities::store::sql;

use super::gateway::Gateway;
use super::run::{Run, store_error};
use super::{OperationType, Request};
use crate::error::Error;
use crate::plan::filter::{has_index, narrows};
use crate::plan::{Fetch, Lookup, Nodes, Work, cost};

/// What would be done for a root field.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Its response key.
    pub key: String,
    /// What it may cost, in points.
    pub cost: u64,
    /// Its statements.
    pub reads: Vec<Reading>,
    /// What else is to be said.
    pub notes: Vec<String>,
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Its text.
    pub sql: String,
    /// How it finds the objects that it reads, klass by klass.
    pub finds: Vec<String>,
    /// What would help.
    pub helps: Vec<String>,
    /// The database's plan: how deep, and what.
    pub plan: Vec<(usize, String)>,
    /// How long it took, if it was run.
    pub took: Option<Duration>,
}

impl Gateway {
    /// Explains an operation; `analyze` runs its statements. Mutations and subscriptions are not run, whatever is asked.
    ///
    /// # Errors
    /// What is wrong with the request, or that the database refused.
    pub async fn explain(&self, actor: &Actor, request: &Request, analyze: bool) -> Result<Vec<Explanation>, Vec<Error>> {
        let prepared = self.prepare(actor, request).await?;
        let plan = &prepared.plan;
        let run = Run::new(&self.store, &prepared.schema, actor, &prepared.variables, &self.limits, plan.kind);
        let mut explained = Vec::with_capacity(plan.roots.len());
        for root in &plan.roots {
            let mut it = Explanation {
                key: root.key.clone(),
                cost: cost::points(run.tenths(root)),
                reads: Vec::new(),
                notes: Vec::new(),
            };
            let done = match &root.work {
                Ok(Work::Fetch(fetch)) => run.explain(fetch, None, analyze, &mut it).await,
                Ok(Work::Nodes(nodes)) => run.explain_nodes(nodes, analyze, &mut it).await,
                Ok(Work::Record(_)) => {
                    it.notes.push(
                        match plan.kind {
                            OperationType::Mutation => {
                                "A mutation is not run here. What is selected of its payload is read by one statement for each klass."
                            }
                            OperationType::Subscription => {
                                "A subscription follows the log. What is selected of its messages is read by one statement for each klass."
                            }
                            OperationType::Query => "Answered from memory.",
                        }
                        .into(),
                    );
                    Ok(())
                }
                Ok(Work::Introspect(_) | Work::Known(_)) => {
                    it.notes.push("Answered from memory.".into());
                    Ok(())
                }
                Err(error) => Err(error.clone()),
            };
            done.map_err(|error| vec![error])?;
            explained.push(it);
        }
        Ok(explained)
    }
}

impl Run<'_> {
    async fn explain(&self, fetch: &Fetch, given: Option<Value>, analyze: bool, it: &mut Explanation) -> Result<(), Error> {
        let arguments = self.arguments(fetch, given)?;
        let registry = &self.schema.registry;
        let statement = sql::compile(self.store.dialect(), registry, &fetch.read);
        let explained = self
            .store
            .explain(registry, &statement, &arguments, analyze)
            .await
            .map_err(store_error)?;
        let mut helps = Vec::new();
        helps_of(&fetch.read, &mut helps);
        it.reads.push(Reading {
            sql: statement.sql.to_string(),
            finds: finds(&explained),
            helps,
            plan: explained.steps.into_iter().map(|step| (step.depth, step.what)).collect(),
            took: explained.took,
        });
        if fetch.deferred {
            it.notes
                .push("Objects that are known only from this answer are then read by one statement for each klass.".into());
        }
        Ok(())
    }

    /// `node` and `nodes`: one statement for each klass among the ids.
    async fn explain_nodes(&self, nodes: &Nodes, analyze: bool, it: &mut Explanation) -> Result<(), Error> {
        let leaves = &self.variables.leaves;
        let ids = match &nodes.lookup {
            Lookup::One(input) => vec![input.with_leaves(leaves)],
            Lookup::Many(input) => input.with_leaves(leaves).items().to_vec(),
            Lookup::Of(_) => {
                it.notes.push("The object is found by its key, then read by one statement.".into());
                return Ok(());
            }
        };
        let mut by_klass: Vec<(Arc<Klass>, Vec<Value>)> = Vec::new();
        for (prefix, id) in ids.iter().filter_map(|id| ObjectId::parse(id.as_str().unwrap_or_default())) {
            let Some(klass) = self.schema.registry.klass_by_prefix(prefix).filter(|klass| klass.enabled) else {
                continue;
            };
            match by_klass.iter_mut().find(|(it, _)| it.name == klass.name) {
                Some((_, ids)) => ids.push(Value::Id(id)),
                None => by_klass.push((klass.clone(), vec![Value::Id(id)])),
            }
        }
        for (klass, ids) in by_klass {
            let arm = nodes.site.arm(&self.ground(), &klass)?;
            self.explain(&arm, Some(Value::List(ids)), analyze, it).await?;
        }
        Ok(())
    }
}

/// How objects are found, klass by klass, in the order of the plan; each said once.
fn finds(explained: &Explained) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    let mut say = |text: String| {
        if !said.contains(&text) {
            said.push(text);
        }
    };
    for step in &explained.steps {
        if let Some((klass, how)) = &step.reads {
            let name = &klass.legal.type_name;
            match how {
                How::Whole => say(format!("{name}: its whole table is read")),
                How::InOrder(index) => say(format!("{name}: all, in the order of an index ({index})")),
                How::By(index, condition) => {
                    let by = columns(klass, condition);
                    if by.is_empty() {
                        say(format!("{name}: all of the org ({index})"));
                    } else {
                        say(format!("{name}: by {} ({index})", by.join(", ")));
                    }
                }
            }
        }
        if step.sorts {
            say("What was found is sorted".to_owned());
        }
    }
    said
}

/// The properties and relationships whose columns a condition names.
fn columns(klass: &Klass, condition: &str) -> Vec<String> {
    let properties = klass
        .properties
        .iter()
        .filter(|property| names(condition, &property.column))
        .map(|p| p.legal.clone());
    let ends = klass.ends.iter().filter_map(|end| match &end.relationship.link {
        Link::Column { column, .. } if end.relationship.klass == klass.name && names(condition, column) => Some(end.legal.clone()),
        _ => None,
    });
    properties.chain(ends).collect()
}

/// What would help a read.
fn helps_of(read: &Read, helps: &mut Vec<String>) {
    match read {
        Read::Page(page) => helps_page(page, true, helps),
        Read::One { outputs, .. } | Read::Many { outputs, .. } => helps_outputs(outputs, helps),
        Read::Timeline { .. } => {}
    }
}

fn helps_page(page: &Page, top: bool, helps: &mut Vec<String>) {
    let Page { klass, filter, rows, .. } = page;
    let narrowed = filter.as_ref().is_some_and(narrows);
    // What hangs on another object is found by that.
    if top && !narrowed {
        if let Some(filter) = filter {
            helps_filter(klass, filter, helps);
        }
        if let Some(Order {
            through,
            by: OrderBy::Property(property),
            ..
        }) = rows.as_ref().and_then(|rows| rows.order.first())
            && through.is_empty()
            && !has_index(property)
        {
            help(klass, &property.legal, "all are sorted by it", helps);
        }
    }
    if let Some(rows) = rows {
        helps_outputs(&rows.outputs, helps);
    }
}

fn helps_outputs(outputs: &[Output], helps: &mut Vec<String>) {
    for output in outputs {
        match output {
            Output::One { outputs, .. } => helps_outputs(outputs, helps),
            Output::OneOf { arms, .. } => arms.iter().for_each(|(_, outputs)| helps_outputs(outputs, helps)),
            Output::Many { page, .. } => helps_page(page, false, helps),
            Output::Timeline(page) => {
                let arms = page.entries.iter().flat_map(|entries| &entries.arms);
                arms.for_each(|arm| helps_outputs(&arm.outputs, helps));
            }
            Output::Value(_) | Output::Link(_) | Output::Cursor | Output::Reference(_) => {}
        }
    }
}

fn helps_filter(klass: &Klass, filter: &Filter, helps: &mut Vec<String>) {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().for_each(|part| helps_filter(klass, part, helps)),
        Filter::Related {
            klass,
            quantifier: Quantifier::Some,
            filter,
            ..
        } => helps_filter(klass, filter, helps),
        Filter::Compare {
            target: Target::Property(property) | Target::Amount(property),
            op: Op::Eq | Op::In | Op::Gt | Op::Gte | Op::Lt | Op::Lte | Op::StartsWith { fold: false } | Op::Under,
            ..
        // Half of all have the same truth value: an index on one finds nothing sooner.
        } if !has_index(property) && property.kind != Kind::Boolean => help(klass, &property.legal, "objects are picked by it", helps),
        _ => {}
    }
}

fn help(klass: &Klass, property: &str, why: &str, helps: &mut Vec<String>) {
    let text = format!("{}.{property}: `indexed` would help, since {why}", klass.legal.type_name);
    if !helps.contains(&text) {
        helps.push(text);
    }
}
