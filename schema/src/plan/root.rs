//! The root fields of an operation.

use std::sync::Arc;

use async_graphql_parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet};
use async_graphql_parser::{Pos, Positioned};
use async_graphql_value::{Name, Value};
use klio_entities::klass::Klass;
use klio_entities::klass::filter::ContactKind;
use klio_entities::klass::kind::Kind;
use klio_entities::klass::query::{Key, Read};

use super::argument::Fit;
use super::coerce::coerce_arguments;
use super::compiler::{Asked, Compiler, Ground, Outputs};
use super::cost::{self, Cost};
use super::shape::{Items, Shape};
use super::{Document, Introspect, Lookup, Nodes, Plan, Record, Root, Work, filter, select};
use crate::error::Error;
use crate::types::model::{InputMeaning, Meaning, TypeRef};

/// The name of an operation's root type.
pub fn root_type(kind: OperationType) -> &'static str {
    match kind {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    }
}

/// Compiles an operation. What is wrong with a root field's arguments is told at that field when it runs.
pub fn compile(ground: &Ground<'_>, document: &Arc<Document>, name: Option<&str>, operation: &OperationDefinition) -> Result<Plan, Error> {
    let root_type = root_type(operation.ty);
    let types = ground.types;
    let on = types
        .object(root_type)
        .ok_or_else(|| Error::bad(format!("this schema has no {}s.", root_type.to_lowercase())))?;
    let groups = select::collect(types, &document.ast, on, &[&operation.selection_set.node], ground.variables)?;
    let mut plan = Plan {
        kind: operation.ty,
        name: name.map(str::to_owned),
        root_type: root_type.to_owned(),
        roots: Vec::with_capacity(groups.len()),
        guards: Vec::new(),
        depends_on: Vec::new(),
    };
    for (key, group) in &groups {
        let first = group[0];
        let name = first.node.name.node.as_str();
        let (nullable, work) = match name {
            "__typename" => (false, Ok(Work::Known(format!("\"{root_type}\"")))),
            "__schema" | "__type" => {
                let document = introspection(document, operation, group);
                (name == "__type", Ok(Work::Introspect(Introspect { document })))
            }
            _ => {
                let field = on
                    .fields
                    .get(name)
                    .ok_or_else(|| Error::internal(format!("no field {name} on {root_type}, though the document was found valid")))?;
                let beneath = select::beneath(group);
                let work = coerce_arguments(types, &field.args, &first.node, first.pos, ground.variables).and_then(|arguments| {
                    let asked = Asked {
                        field,
                        pos: first.pos,
                        arguments,
                        beneath,
                    };
                    root(ground, document, &asked, &mut plan)
                });
                (!field.ty.is_required(), work.map_err(|error| placed(error, first.pos)))
            }
        };
        plan.roots.push(Root {
            key: (*key).to_owned(),
            name: name.to_owned(),
            pos: first.pos,
            nullable,
            work,
        });
    }
    Ok(plan)
}

/// A document that asks for these root fields alone, with the fragments and variables that they use: whoever answers it
/// validates it again, and would refuse what is unused.
fn introspection(document: &Document, operation: &OperationDefinition, group: &select::Group<'_>) -> ExecutableDocument {
    let mut fragments = std::collections::HashMap::new();
    let mut variables = std::collections::HashSet::new();
    let mut open: Vec<&Positioned<Selection>> = Vec::new();
    let items: Vec<Positioned<Selection>> = group
        .iter()
        .map(|field| Positioned::new(Selection::Field((*field).clone()), field.pos))
        .collect();
    open.extend(items.iter());
    while let Some(selection) = open.pop() {
        for directive in selection.node.directives() {
            variables.extend(directive.node.arguments.iter().filter_map(|(_, value)| variable(&value.node)));
        }
        match &selection.node {
            Selection::Field(field) => {
                variables.extend(field.node.arguments.iter().filter_map(|(_, value)| variable(&value.node)));
                open.extend(&field.node.selection_set.node.items);
            }
            Selection::InlineFragment(inline) => open.extend(&inline.node.selection_set.node.items),
            Selection::FragmentSpread(spread) => {
                let name = &spread.node.fragment_name.node;
                if let Some(fragment) = document.ast.fragments.get(name)
                    && fragments.insert(name.clone(), fragment.clone()).is_none()
                {
                    open.extend(&fragment.node.selection_set.node.items);
                }
            }
        }
    }
    let used = |name: &Name| variables.contains(name);
    let alone = OperationDefinition {
        ty: operation.ty,
        variable_definitions: operation
            .variable_definitions
            .iter()
            .filter(|definition| used(&definition.node.name.node))
            .cloned()
            .collect(),
        directives: Vec::new(),
        selection_set: Positioned::new(SelectionSet { items }, operation.selection_set.pos),
    };
    ExecutableDocument {
        operations: DocumentOperations::Single(Positioned::new(alone, operation.selection_set.pos)),
        fragments,
    }
}

/// Arguments of the schema's own fields and of `@skip` and `@include` are scalars: a variable stands for the whole or not at all.
fn variable(value: &Value) -> Option<Name> {
    match value {
        Value::Variable(name) => Some(name.clone()),
        _ => None,
    }
}

fn placed(error: Error, pos: Pos) -> Error {
    if error.locations.is_empty() { error.at(pos) } else { error }
}

fn root<'a>(ground: &'a Ground<'a>, document: &'a Arc<Document>, asked: &Asked<'a>, plan: &mut Plan) -> Result<Work, Error> {
    let mut compiler = Compiler::new(ground, document);
    let work = match &asked.field.means {
        Meaning::ByKey(klass) => compiler.by_key(klass, asked).map(|(read, shape, cost)| (Some(read), shape, cost)),
        Meaning::Connection(klass) => {
            let (page, shape, cost) = compiler.page(klass, None, asked)?;
            Ok((Some(Read::Page(page)), shape, cost))
        }
        Meaning::Node | Meaning::Nodes | Meaning::ObjectOf => return compiler.nodes(asked).map(|nodes| Work::Nodes(Box::new(nodes))),
        _ => {
            let (shape, mut cost) = compiler.record_value(&asked.field.ty, &asked.beneath)?;
            match &asked.field.means {
                Meaning::Write(_) => cost.own += cost::WRITE,
                Meaning::Counted(klass) => {
                    let which = compiler.which(klass, asked.field, &asked.arguments)?;
                    cost.own += cost::SWEEP + filter::cost_of(which.as_ref());
                }
                _ => {}
            }
            Ok((None, shape, cost))
        }
    };
    let (read, shape, mut cost) = work?;
    plan.depends_on.extend(std::mem::take(&mut compiler.depends_on));
    plan.guards.extend(compiler.guards.iter().cloned());
    cost.own += cost::STATEMENT;
    Ok(match read {
        Some(read) => Work::Fetch(Box::new(compiler.fetch(read, shape, cost))),
        None => Work::Record(Box::new(Record {
            means: asked.field.means.clone(),
            field: asked.field.name.as_str().to_owned(),
            arguments: asked.arguments.clone(),
            shape,
            cost,
        })),
    })
}

impl<'a> Compiler<'a> {
    /// `order(id:)`, `order(externalId:)`, …: exactly one key.
    fn by_key(&mut self, klass: &Arc<Klass>, asked: &Asked<'a>) -> Result<(Read, Shape, Cost), Error> {
        let known = asked
            .field
            .args
            .iter()
            .filter(|argument| matches!(argument.means, InputMeaning::Key(_) | InputMeaning::ContactKey(_)));
        let given: Vec<_> = known
            .clone()
            .filter_map(|argument| Some((argument, asked.arguments.given(&argument.name)?)))
            .collect();
        let [(argument, input)] = given.as_slice() else {
            return Err(Error::bad(format!(
                "say which {} by exactly one of {}; {} given.",
                klass.legal.field,
                known.map(|argument| argument.name.as_str()).collect::<Vec<_>>().join(", "),
                match given.len() {
                    0 => "none was".to_owned(),
                    n => format!("{n} were"),
                }
            )));
        };
        let key = match &argument.means {
            InputMeaning::Key(property) if property.kind == Kind::Id => {
                let fit = Fit::Id(klass.id_prefix.clone(), klass.legal.type_name.clone());
                Key::Id(self.operand(input, &fit)?)
            }
            InputMeaning::Key(property) => {
                let fit = match property.kind {
                    Kind::Phone => Fit::Phone,
                    Kind::Decimal | Kind::Money => Fit::Decimal,
                    _ => Fit::As,
                };
                Key::Unique(property.clone(), self.operand(input, &fit)?)
            }
            InputMeaning::ContactKey(kind) => {
                let fit = match kind {
                    ContactKind::Email => Fit::Lower,
                    ContactKind::Phone => Fit::Phone,
                    ContactKind::ExternalId => Fit::As,
                };
                Key::Contact(*kind, self.operand(input, &fit)?)
            }
            other => return Err(Error::internal(format!("{other:?} is no key"))),
        };
        let deleted = asked
            .arguments
            .given("withDeleted")
            .and_then(|input| input.as_bool())
            .unwrap_or(false);
        let mut outputs = Outputs::new(klass);
        let on = self.object_of(klass)?;
        let (fields, mut cost) = self.object(on, &asked.beneath, &mut outputs)?;
        cost.own += cost::ROW;
        outputs.at_least_id();
        let read = Read::One {
            klass: klass.clone(),
            key,
            deleted,
            outputs: outputs.list,
        };
        Ok((read, Shape::Object(Arc::new(fields)), cost))
    }

    fn nodes(&mut self, asked: &Asked<'a>) -> Result<Nodes, Error> {
        let lookup = match &asked.field.means {
            Meaning::Node => Lookup::One(given(asked, "id")?),
            Meaning::Nodes => Lookup::Many(given(asked, "ids")?),
            _ => Lookup::Of(asked.arguments.clone()),
        };
        let sets: Vec<&'a SelectionSet> = asked.beneath.to_vec();
        let site = self.site(asked.field.ty.name(), false, &sets);
        let load = Shape::Load(site.clone());
        let shape = match asked.field.ty.nullable() {
            TypeRef::List(item) => Shape::List(Items {
                shape: Box::new(load),
                nullable: !item.is_required(),
            }),
            _ => load,
        };
        let fields = sets.iter().map(|set| selected(&self.document.ast, set)).sum();
        Ok(Nodes {
            lookup,
            site,
            shape,
            fields,
        })
    }
}

/// How many fields a selection holds, fragments followed. Limits have bounded it.
fn selected(document: &ExecutableDocument, set: &SelectionSet) -> u64 {
    set.items
        .iter()
        .map(|selection| match &selection.node {
            Selection::Field(field) => 1 + selected(document, &field.node.selection_set.node),
            Selection::InlineFragment(inline) => selected(document, &inline.node.selection_set.node),
            Selection::FragmentSpread(spread) => document
                .fragments
                .get(spread.node.fragment_name.node.as_str())
                .map_or(0, |fragment| selected(document, &fragment.node.selection_set.node)),
        })
        .sum()
}

fn given(asked: &Asked<'_>, name: &str) -> Result<super::coerce::Input, Error> {
    asked
        .arguments
        .get(name)
        .cloned()
        .ok_or_else(|| Error::internal(format!("argument {name} is missing")))
}
