//! What a request may be, checked before any work is done for it: linear in its text, whatever the text.

use std::collections::HashMap;

use async_graphql_parser::Pos;
use async_graphql_parser::types::{ExecutableDocument, OperationDefinition, Selection, SelectionSet};
use serde_json::{Map, Value as Json};

use crate::error::{Code, Error};

/// The limits; each has a setting of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a document.
    pub text: usize,
    /// Tokens of a document.
    pub tokens: usize,
    /// How deep brackets of any kind may lie within each other.
    pub nesting: usize,
    /// Directives in a document.
    pub directives: usize,
    /// Fragment definitions in a document.
    pub fragments: usize,
    /// How deep fields may lie within each other, fragments followed.
    pub depth: usize,
    /// Fields of an operation, fragments followed, each spread counted anew.
    pub fields: usize,
    /// Aliases of an operation, fragments followed.
    pub aliases: usize,
    /// Root fields of an operation, fragments followed.
    pub root_fields: usize,
    /// Bytes of the variables, as JSON.
    pub variables: usize,
    /// Requests in a batch.
    pub batch: usize,
    /// Objects of a page.
    pub page: u32,
    /// Points that one operation may cost.
    pub cost: u64,
    /// Points that an actor may spend at once.
    pub bucket: u64,
    /// Points that come back to an actor each second.
    pub refill: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text: 64 * 1024,
            tokens: 15_000,
            nesting: 60,
            directives: 100,
            fragments: 200,
            depth: 20,
            fields: 5_000,
            aliases: 200,
            root_fields: 20,
            variables: 4 * 1024 * 1024,
            batch: 10,
            page: 200,
            cost: 100_000,
            bucket: 5_000_000,
            refill: 1_000_000,
        }
    }
}

/// A limit is exceeded: says which, by what, and the setting.
pub(crate) fn exceeded(what: &str, value: usize, limit: usize, setting: &str) -> Error {
    Error::new(
        Code::TooCostly,
        format!("The operation has {value} {what}; at most {limit} are allowed (setting limits.{setting})."),
    )
    .with("limit", setting)
    .with("value", value)
    .with("allowed", limit)
}

/// What a selection holds, fragments followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    fields: usize,
    aliases: usize,
    depth: usize,
    top: usize,
}

impl Size {
    fn beside(self, other: Size) -> Size {
        Size {
            fields: self.fields.saturating_add(other.fields),
            aliases: self.aliases.saturating_add(other.aliases),
            depth: self.depth.max(other.depth),
            top: self.top.saturating_add(other.top),
        }
    }
}

/// Sizes of fragments, each counted once however often it is spread.
struct Counter<'a> {
    document: &'a ExecutableDocument,
    known: HashMap<&'a str, Size>,
    under_way: Vec<&'a str>,
}

impl<'a> Counter<'a> {
    fn set(&mut self, set: &'a SelectionSet) -> Result<Size, Error> {
        let mut size = Size::default();
        for selection in &set.items {
            let its = match &selection.node {
                Selection::Field(field) => {
                    let below = self.set(&field.node.selection_set.node)?;
                    Size {
                        fields: below.fields.saturating_add(1),
                        aliases: below.aliases.saturating_add(field.node.alias.is_some().into()),
                        depth: below.depth.saturating_add(1),
                        top: 1,
                    }
                }
                Selection::InlineFragment(inline) => self.set(&inline.node.selection_set.node)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, selection.pos)?,
            };
            size = size.beside(its);
        }
        Ok(size)
    }

    fn fragment(&mut self, name: &'a str, pos: Pos) -> Result<Size, Error> {
        if let Some(size) = self.known.get(name) {
            return Ok(*size);
        }
        if let Some(first) = self.under_way.iter().position(|it| *it == name) {
            let via: Vec<String> = self.under_way[first + 1..].iter().map(|it| format!("\"{it}\"")).collect();
            let via = if via.is_empty() {
                String::new()
            } else {
                format!(" via {}", via.join(", "))
            };
            return Err(Error::invalid(
                format!("Cannot spread fragment \"{name}\" within itself{via}."),
                [pos],
            ));
        }
        let Some(fragment) = self.document.fragments.get(name) else {
            // Unknown: validation says so.
            return Ok(Size::default());
        };
        self.under_way.push(name);
        let size = self.set(&fragment.node.selection_set.node)?;
        self.under_way.pop();
        self.known.insert(name, size);
        Ok(size)
    }
}

/// Checks a parsed document: fragments, and for each operation depth, fields, aliases, root fields.
pub fn check_document(document: &ExecutableDocument, limits: &Limits) -> Result<(), Error> {
    let fragments = document.fragments.len();
    if fragments > limits.fragments {
        return Err(exceeded("fragments", fragments, limits.fragments, "fragments"));
    }
    let mut counter = Counter {
        document,
        known: HashMap::with_capacity(fragments),
        under_way: Vec::new(),
    };
    // Unused ones too: validation walks them.
    for (name, fragment) in &document.fragments {
        counter.fragment(name, fragment.pos)?;
    }
    for (_, operation) in document.operations.iter() {
        check_operation(&mut counter, &operation.node, limits).map_err(|error| error.at(operation.pos))?;
    }
    // What no operation uses is validated all the same.
    let widest = counter.known.values().map(|size| size.fields).max().unwrap_or(0);
    if widest > limits.fields {
        return Err(exceeded("fields", widest, limits.fields, "fields"));
    }
    Ok(())
}

fn check_operation<'a>(counter: &mut Counter<'a>, operation: &'a OperationDefinition, limits: &Limits) -> Result<(), Error> {
    let size = counter.set(&operation.selection_set.node)?;
    for (what, value, limit, setting) in [
        ("levels of fields", size.depth, limits.depth, "depth"),
        ("fields", size.fields, limits.fields, "fields"),
        ("aliases", size.aliases, limits.aliases, "aliases"),
        ("root fields", size.top, limits.root_fields, "root_fields"),
    ] {
        if value > limit {
            return Err(exceeded(what, value, limit, setting));
        }
    }
    Ok(())
}

/// Checks the size of the variables.
pub fn check_variables(variables: &Map<String, Json>, limits: &Limits) -> Result<(), Error> {
    let mut size = 0usize;
    for (name, value) in variables {
        size = size.saturating_add(name.len() + 4).saturating_add(json_size(value));
        if size > limits.variables {
            return Err(exceeded("bytes of variables or more", size, limits.variables, "variables"));
        }
    }
    Ok(())
}

/// About how many bytes a value is as JSON.
fn json_size(value: &Json) -> usize {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 8,
        Json::String(text) => text.len() + 2,
        Json::Array(items) => items.iter().fold(2, |sum, item| sum + 1 + json_size(item)),
        Json::Object(fields) => fields.iter().fold(2, |sum, (name, value)| sum + name.len() + 4 + json_size(value)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn check(text: &str) -> Result<(), Error> {
        let limits = Limits::default();
        check_document(&crate::parse::parse(text, &limits)?, &limits)
    }

    #[track_caller]
    fn refused(text: &str, setting: &str) {
        let started = Instant::now();
        let error = check(text).expect_err("is refused");
        // Unoptimised builds take longer; the point is that it is no matter of seconds.
        assert!(
            started.elapsed() < Duration::from_millis(if cfg!(debug_assertions) { 250 } else { 5 }),
            "{:?}",
            started.elapsed()
        );
        assert_eq!(
            error.extensions.first().and_then(|(_, value)| value.as_str()),
            Some(setting),
            "{}",
            error.message
        );
    }

    #[test]
    fn fragment_chains_do_not_explode() {
        let mut text = String::from("{...f0}");
        for i in 0..22 {
            text.push_str(&format!(" fragment f{i} on Query{{...f{} ...f{}}}", i + 1, i + 1));
        }
        text.push_str(" fragment f22 on Query{__typename}");
        assert!(text.len() < 1000);
        refused(&text, "fields");
    }

    #[test]
    fn wide_fragments_do_not_explode() {
        let mut text = String::from("{...f0}");
        for i in 0..6 {
            text.push_str(&format!(" fragment f{i} on Query{{{}}}", format!("...f{} ", i + 1).repeat(10)));
        }
        text.push_str(" fragment f6 on Query{a}");
        refused(&text, "fields");
    }

    #[test]
    fn each_limit_is_told() {
        let limits = Limits::default();
        refused(&format!("{{{}}}", " a".repeat(40_000)), "text");
        refused(&format!("{{{}}}", " a".repeat(20_000)), "tokens");
        refused(&format!("{}a{}", "{a".repeat(70), "}".repeat(70)), "nesting");
        refused(&format!("{{a{}}}", "@d".repeat(101)), "directives");
        refused(&format!("{}a{}", "{a".repeat(21), "}".repeat(21)), "depth");
        refused(
            &format!("{{a{{{}}}}}", (0..201).map(|i| format!("b{i}:c ")).collect::<String>()),
            "aliases",
        );
        refused(
            &format!("{{{}}}", (0..21).map(|i| format!("b{i} ")).collect::<String>()),
            "root_fields",
        );
        let fragments: String = (0..201).map(|i| format!("fragment f{i} on Query{{a}} ")).collect();
        refused(&format!("{{a}} {fragments}"), "fragments");
        let variables = serde_json::json!({"x": "y".repeat(limits.variables)});
        assert!(check_variables(variables.as_object().expect("an object"), &limits).is_err());
    }

    #[test]
    fn fragments_within_themselves() {
        let error = check("{...a} fragment a on Query{...b} fragment b on Query{...a}").expect_err("a cycle");
        assert_eq!(error.code, Code::ValidationFailed);
        assert!(error.message.contains("within itself via"), "{}", error.message);
        assert!(check("{...a} fragment a on Query{x{...a}}").is_err());
    }

    #[test]
    fn the_introspection_query_passes() {
        let text = "query IntrospectionQuery { __schema { queryType { name } types { ...FullType } } }
            fragment FullType on __Type { kind fields(includeDeprecated: true) { name args { ...InputValue } type { ...TypeRef } } }
            fragment InputValue on __InputValue { name type { ...TypeRef } }
            fragment TypeRef on __Type { kind ofType { kind ofType { kind ofType { kind ofType { kind ofType { kind ofType {
              kind ofType { kind ofType { kind ofType { kind name } } } } } } } } } }";
        assert_eq!(check(text).map_err(|e| e.message), Ok(()));
    }
}
