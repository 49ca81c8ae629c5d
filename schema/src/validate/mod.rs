//! Whether a document fits a schema: async-graphql's rules, and those of the specification (October 2021, §5) that it lacks or
//! has wrong: fields that cannot be merged, at every depth ([`merge`]); values of arguments, defaults and input fields, and
//! variables where they may not stand ([`values`]); one root field for a subscription.

mod merge;
mod values;

#[cfg(test)]
mod tests;

use async_graphql_parser::types::{ExecutableDocument, OperationType};

use crate::error::Error;
use crate::introspection;
use crate::plan::coerce::Variables;
use crate::plan::select;
use crate::types::model::Types;

/// Checks a document whose size is within the limits. All that is wrong is told.
pub fn validate(types: &Types, document: &ExecutableDocument) -> Result<(), Vec<Error>> {
    if let Err(errors) = introspection::validate(types, document) {
        let errors: Vec<Error> = errors
            .into_iter()
            .filter(|error| !judged_here(&error.message))
            .map(|error| Error::invalid(error.message, error.locations))
            .collect();
        if !errors.is_empty() {
            return Err(errors);
        }
    }
    let mut errors = values::check(types, document);
    errors.extend(merge::check(types, document));
    errors.extend(one_root_field(types, document));
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What async-graphql says and should not: it does not know that the default of an argument lets a nullable variable stand where
/// a non-null value must, it does not see a variable that only a directive of `__typename` uses, and it wants to know which
/// operation is meant.
fn judged_here(message: &str) -> bool {
    message.contains("used in position expecting type")
        || (message.starts_with("Variable \"$") && message.contains("\" is not used"))
        || message == "Operation name required in request."
}

/// A subscription has exactly one root field, however it is written, and that is none of the schema's own.
fn one_root_field(types: &Types, document: &ExecutableDocument) -> Vec<Error> {
    let mut errors = Vec::new();
    for (name, operation) in document.operations.iter() {
        if operation.node.ty != OperationType::Subscription {
            continue;
        }
        let Some(on) = types.object("Subscription") else { continue };
        let what = name.map_or_else(|| "Anonymous Subscription".to_owned(), |name| format!("Subscription \"{name}\""));
        // Without variables an `@include(if: $x)` cannot be judged; a subscription that hides its root fields behind one is refused.
        let sets = [&operation.node.selection_set.node];
        let groups = match select::collect(types, document, on, &sets, &Variables::default()) {
            Ok(groups) => groups,
            Err(error) => {
                errors.push(Error::invalid(
                    format!("{what} must not use `@skip` or `@include` with a variable at its root."),
                    error.locations,
                ));
                continue;
            }
        };
        if groups.len() != 1 {
            let extra = groups.values().skip(1).flat_map(|group| group.iter().map(|field| field.pos));
            errors.push(Error::invalid(format!("{what} must select only one top level field."), extra));
        }
        for group in groups.values() {
            if group[0].node.name.node.starts_with("__") {
                errors.push(Error::invalid(
                    format!("{what} must not select an introspection top level field."),
                    group.iter().map(|field| field.pos),
                ));
            }
        }
    }
    errors
}
