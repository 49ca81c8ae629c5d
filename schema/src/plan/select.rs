//! Which fields a selection asks for of an object of a known type: CollectFields of the specification (October 2021, §6.3.2).

use async_graphql_parser::Positioned;
use async_graphql_parser::types::{Directive, ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql_value::Value as Ast;
use indexmap::IndexMap;
use smallvec::{SmallVec, smallvec};

use super::coerce::Variables;
use crate::error::Error;
use crate::types::model::{ObjectType, Type, Types};

/// The fields that share a response key, in the order of the document.
pub type Group<'a> = SmallVec<[&'a Positioned<Field>; 1]>;

/// Gathers the fields by response key, in the order in which the keys first appear.
pub fn collect<'a>(
    types: &Types,
    document: &'a ExecutableDocument,
    on: &ObjectType,
    sets: &[&'a SelectionSet],
    variables: &Variables,
) -> Result<IndexMap<&'a str, Group<'a>>, Error> {
    let mut groups = IndexMap::new();
    let mut visited = SmallVec::<[&str; 8]>::new();
    for set in sets {
        gather(types, document, on, set, variables, &mut visited, &mut groups)?;
    }
    Ok(groups)
}

fn gather<'a>(
    types: &Types,
    document: &'a ExecutableDocument,
    on: &ObjectType,
    set: &'a SelectionSet,
    variables: &Variables,
    visited: &mut SmallVec<[&'a str; 8]>,
    groups: &mut IndexMap<&'a str, Group<'a>>,
) -> Result<(), Error> {
    for selection in &set.items {
        if !included(selection.node.directives(), variables)? {
            continue;
        }
        match &selection.node {
            Selection::Field(field) => {
                groups
                    .entry(field.node.response_key().node.as_str())
                    .and_modify(|group| group.push(field))
                    .or_insert_with(|| smallvec![field]);
            }
            Selection::FragmentSpread(spread) => {
                let name = spread.node.fragment_name.node.as_str();
                if visited.contains(&name) {
                    continue;
                }
                visited.push(name);
                if let Some(fragment) = document.fragments.get(name)
                    && applies(types, on, &fragment.node.type_condition.node.on.node)
                {
                    gather(types, document, on, &fragment.node.selection_set.node, variables, visited, groups)?;
                }
            }
            Selection::InlineFragment(inline) => {
                if inline
                    .node
                    .type_condition
                    .as_ref()
                    .is_none_or(|condition| applies(types, on, &condition.node.on.node))
                {
                    gather(types, document, on, &inline.node.selection_set.node, variables, visited, groups)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether an object of this type is of the type that a fragment is on.
pub fn applies(types: &Types, on: &ObjectType, condition: &str) -> bool {
    on.name == condition
        || match types.types.get(condition) {
            Some(Type::Object(it)) => it.interface && on.implements.iter().any(|name| name == condition),
            Some(Type::Union(it)) => it.members.contains(&on.name),
            _ => false,
        }
}

/// What `@skip` and `@include` say.
pub fn included(directives: &[Positioned<Directive>], variables: &Variables) -> Result<bool, Error> {
    for directive in directives {
        let wanted = match directive.node.name.node.as_str() {
            "skip" => false,
            "include" => true,
            _ => continue,
        };
        let condition = directive.node.get_argument("if");
        let value = match condition.map(|value| &value.node) {
            Some(Ast::Boolean(it)) => Some(*it),
            Some(Ast::Variable(name)) => variables.values.get(name.as_str()).and_then(|input| input.as_bool()),
            _ => None,
        };
        match value {
            Some(it) if it != wanted => return Ok(false),
            Some(_) => {}
            None => {
                return Err(Error::bad(format!(
                    "Argument \"if\" of \"@{}\" of required type \"Boolean!\" must not be null.",
                    directive.node.name.node
                ))
                .at(condition.map_or(directive.pos, |value| value.pos)));
            }
        }
    }
    Ok(true)
}

/// The selections beneath the fields of a group, to be gathered as one.
pub fn beneath<'a>(group: &Group<'a>) -> SmallVec<[&'a SelectionSet; 1]> {
    group.iter().map(|field| &field.node.selection_set.node).collect()
}
