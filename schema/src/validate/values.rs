//! Literals must fit the types of their places; variables may stand only where their types let them (§5.6, §5.8.5).

use std::collections::{HashMap, HashSet};

use async_graphql_parser::types::{Directive, ExecutableDocument, OperationDefinition, Selection, SelectionSet};
use async_graphql_parser::{Pos, Positioned};
use async_graphql_value::{Name, Value};

use crate::error::Error;
use crate::plan::coerce::{self, Variables, type_ref};
use crate::types::model::{Argument, Type, TypeRef, Types};

/// A place where a variable stands.
struct Usage<'a> {
    name: &'a Name,
    ty: TypeRef,
    /// The place has a default of its own.
    default: bool,
    /// The place is the one field of a `@oneOf` input object.
    one_of: bool,
    pos: Pos,
}

/// What an operation or a fragment uses.
#[derive(Default)]
struct Uses<'a> {
    variables: Vec<Usage<'a>>,
    fragments: Vec<&'a str>,
}

struct Walk<'a> {
    types: &'a Types,
    errors: Vec<Error>,
}

/// Everything that is wrong with the values in a document.
pub fn check(types: &Types, document: &ExecutableDocument) -> Vec<Error> {
    let mut walk = Walk { types, errors: Vec::new() };
    let mut fragments: HashMap<&str, Uses<'_>> = HashMap::new();
    for (name, fragment) in &document.fragments {
        let mut uses = Uses::default();
        walk.directives(&fragment.node.directives, &mut uses);
        let on = fragment.node.type_condition.node.on.node.as_str();
        walk.set(Some(on), &fragment.node.selection_set.node, &mut uses);
        fragments.insert(name.as_str(), uses);
    }
    for (name, operation) in document.operations.iter() {
        let mut uses = Uses::default();
        walk.directives(&operation.node.directives, &mut uses);
        walk.defaults(&operation.node);
        let root = crate::plan::root::root_type(operation.node.ty);
        walk.set(Some(root), &operation.node.selection_set.node, &mut uses);
        walk.positions(name, &operation.node, &uses, &fragments);
    }
    walk.errors
}

impl<'a> Walk<'a> {
    fn set(&mut self, on: Option<&str>, set: &'a SelectionSet, uses: &mut Uses<'a>) {
        for selection in &set.items {
            self.directives(selection.node.directives(), uses);
            match &selection.node {
                Selection::Field(field) => {
                    // The schema's own types (`__Type`) are not among ours; async-graphql has judged what is beneath them.
                    let known = on
                        .and_then(|on| self.types.object(on))
                        .and_then(|on| on.fields.get(field.node.name.node.as_str()));
                    if let Some(known) = known {
                        self.arguments(&known.args, &field.node.arguments, uses);
                    } else {
                        for (_, value) in &field.node.arguments {
                            if let Value::Variable(name) = &value.node {
                                let ty = if field.node.name.node == "__type" {
                                    TypeRef::named("String").required()
                                } else {
                                    TypeRef::named("Boolean")
                                };
                                uses.variables.push(Usage {
                                    name,
                                    ty,
                                    default: false,
                                    one_of: false,
                                    pos: value.pos,
                                });
                            }
                        }
                    }
                    self.set(known.map(|known| known.ty.name()), &field.node.selection_set.node, uses);
                }
                Selection::FragmentSpread(spread) => uses.fragments.push(&spread.node.fragment_name.node),
                Selection::InlineFragment(inline) => {
                    let on = inline
                        .node
                        .type_condition
                        .as_ref()
                        .map(|condition| condition.node.on.node.as_str())
                        .or(on);
                    self.set(on, &inline.node.selection_set.node, uses);
                }
            }
        }
    }

    fn directives(&mut self, directives: &'a [Positioned<Directive>], uses: &mut Uses<'a>) {
        for (index, directive) in directives.iter().enumerate() {
            let name = directive.node.name.node.as_str();
            // async-graphql does not look at those of `__typename`.
            if !matches!(name, "skip" | "include") {
                self.wrong(format!("Unknown directive \"@{name}\"."), directive.pos);
                continue;
            }
            if directives[..index].iter().any(|other| other.node.name.node == name) {
                self.wrong(
                    format!("The directive \"@{name}\" can only be used once at this location."),
                    directive.pos,
                );
            }
            let boolean = TypeRef::named("Boolean").required();
            let mut given = false;
            for (argument, value) in &directive.node.arguments {
                if argument.node == "if" {
                    if given {
                        self.wrong("There can be only one argument named \"if\".".into(), argument.pos);
                    }
                    given = true;
                    self.value(&boolean, &value.node, value.pos, false, uses);
                } else {
                    self.wrong(
                        format!("Unknown argument \"{}\" on directive \"@{name}\".", argument.node),
                        argument.pos,
                    );
                }
            }
            if !given {
                self.wrong(
                    format!("Directive \"@{name}\" argument \"if\" of type \"Boolean!\" is required, but it was not provided."),
                    directive.pos,
                );
            }
        }
    }

    fn arguments(&mut self, declared: &[Argument], given: &'a [(Positioned<Name>, Positioned<Value>)], uses: &mut Uses<'a>) {
        for (name, value) in given {
            if let Some(argument) = declared.iter().find(|argument| *name.node == *argument.name) {
                self.value(&argument.ty, &value.node, value.pos, argument.default.is_some(), uses);
            }
        }
    }

    /// A value at a place of this type. A variable within is noted; its own type is judged for each operation that uses it.
    fn value(&mut self, ty: &TypeRef, value: &'a Value, pos: Pos, default: bool, uses: &mut Uses<'a>) {
        if let Value::Variable(name) = value {
            uses.variables.push(Usage {
                name,
                ty: ty.clone(),
                default,
                one_of: false,
                pos,
            });
            return;
        }
        match ty {
            TypeRef::NonNull(inner) => match value {
                Value::Null => self.wrong(format!("Expected value of type \"{ty}\", found null."), pos),
                _ => self.value(inner, value, pos, default, uses),
            },
            _ if matches!(value, Value::Null) => {}
            TypeRef::List(item) => match value {
                Value::List(items) => {
                    for value in items {
                        self.value(item, value, pos, false, uses);
                    }
                }
                single => self.value(item, single, pos, false, uses),
            },
            TypeRef::Named(name) => self.named(name, value, pos, uses),
        }
    }

    fn named(&mut self, name: &str, value: &'a Value, pos: Pos, uses: &mut Uses<'a>) {
        let types = self.types;
        match types.types.get(name) {
            Some(Type::Input(it)) => {
                let Value::Object(given) = value else {
                    return self.wrong(format!("Expected value of type \"{name}\", found {value}."), pos);
                };
                for (key, value) in given {
                    let Some(field) = it.fields.get(key.as_str()) else {
                        self.wrong(format!("Field \"{key}\" is not defined by type \"{name}\"."), pos);
                        continue;
                    };
                    let before = uses.variables.len();
                    self.value(&field.ty, value, pos, field.default.is_some(), uses);
                    if it.one_of && matches!(value, Value::Variable(_)) {
                        for usage in &mut uses.variables[before..] {
                            usage.one_of = true;
                        }
                    }
                }
                for field in it.fields.values() {
                    if field.ty.is_required() && field.default.is_none() && !given.contains_key(field.name.as_str()) {
                        self.wrong(
                            format!(
                                "Field \"{name}.{}\" of required type \"{}\" was not provided.",
                                field.name, field.ty
                            ),
                            pos,
                        );
                    }
                }
                if it.one_of {
                    if given.len() != 1 {
                        self.wrong(format!("OneOf Input Object \"{name}\" must specify exactly one key."), pos);
                    } else if given.values().any(|value| matches!(value, Value::Null)) {
                        self.wrong(format!("Field of OneOf Input Object \"{name}\" must be non-null."), pos);
                    }
                }
            }
            // JSON may hold variables at any depth; each is as it comes.
            Some(Type::Scalar(it)) if it.name == "JSON" => within(value, &mut |name| {
                uses.variables.push(Usage {
                    name,
                    ty: TypeRef::named("JSON"),
                    default: false,
                    one_of: false,
                    pos,
                });
            }),
            _ => {
                let ty = TypeRef::named(name.to_owned());
                if let Err(problem) = coerce::literal(types, &ty, value, &Variables::default()) {
                    self.wrong(capital(&problem), pos);
                }
            }
        }
    }

    fn wrong(&mut self, message: String, pos: Pos) {
        self.errors.push(Error::invalid(message, [pos]));
    }

    fn defaults(&mut self, operation: &OperationDefinition) {
        for definition in &operation.variable_definitions {
            if let Some(default) = &definition.node.default_value {
                let ty = type_ref(&definition.node.var_type.node);
                if let Err(problem) = coerce::constant(self.types, &ty, &default.node) {
                    self.wrong(capital(&problem), default.pos);
                }
            }
        }
    }

    /// Judges every variable that an operation uses, by itself or through fragments.
    fn positions(&mut self, name: Option<&Name>, operation: &OperationDefinition, own: &Uses<'_>, fragments: &HashMap<&str, Uses<'_>>) {
        let mut seen: HashSet<&str> = HashSet::new();
        let mut used: HashSet<&str> = HashSet::new();
        let mut open: Vec<&Uses<'_>> = vec![own];
        while let Some(uses) = open.pop() {
            for fragment in &uses.fragments {
                if seen.insert(fragment)
                    && let Some(uses) = fragments.get(fragment)
                {
                    open.push(uses);
                }
            }
            for usage in &uses.variables {
                used.insert(usage.name);
                let Some(definition) = operation.variable_definitions.iter().find(|it| it.node.name.node == *usage.name) else {
                    // Not defined: told by async-graphql, save in a place that it does not look into (JSON).
                    let of = name.map_or(String::new(), |name| format!(" by operation \"{name}\""));
                    self.errors.push(Error::invalid(
                        format!("Variable \"${}\" is not defined{of}.", usage.name),
                        [usage.pos],
                    ));
                    continue;
                };
                let ty = type_ref(&definition.node.var_type.node);
                // JSON takes a variable of any type.
                if usage.ty.name() == "JSON" {
                    continue;
                }
                let default = definition.node.default_value.as_ref();
                let default = default.is_some_and(|value| !matches!(value.node, async_graphql_value::ConstValue::Null));
                if usage.one_of && !ty.is_required() {
                    self.errors.push(Error::invalid(
                        format!(
                            "Variable \"${}\" is of type \"{ty}\" but must be non-nullable to be used for a OneOf Input Object.",
                            usage.name
                        ),
                        [definition.pos, usage.pos],
                    ));
                } else if !allowed(&ty, default, &usage.ty, usage.default) {
                    self.errors.push(Error::invalid(
                        format!(
                            "Variable \"${}\" of type \"{ty}\" used in position expecting type \"{}\".",
                            usage.name, usage.ty
                        ),
                        [definition.pos, usage.pos],
                    ));
                }
            }
        }
        for definition in &operation.variable_definitions {
            if !used.contains(definition.node.name.node.as_str()) {
                let of = name.map_or(String::new(), |name| format!(" in operation \"{name}\""));
                let message = format!("Variable \"${}\" is never used{of}.", definition.node.name.node);
                self.errors.push(Error::invalid(message, [definition.pos]));
            }
        }
    }
}

/// IsVariableUsageAllowed.
fn allowed(variable: &TypeRef, variable_default: bool, place: &TypeRef, place_default: bool) -> bool {
    match (variable, place) {
        (TypeRef::NonNull(_), _) => fits(variable, place),
        (_, TypeRef::NonNull(inner)) => (variable_default || place_default) && fits(variable, inner),
        _ => fits(variable, place),
    }
}

/// AreTypesCompatible.
fn fits(variable: &TypeRef, place: &TypeRef) -> bool {
    match (variable, place) {
        (TypeRef::NonNull(variable), TypeRef::NonNull(place)) => fits(variable, place),
        (_, TypeRef::NonNull(_)) => false,
        (TypeRef::NonNull(variable), place) => fits(variable, place),
        (TypeRef::List(variable), TypeRef::List(place)) => fits(variable, place),
        (TypeRef::Named(variable), TypeRef::Named(place)) => variable == place,
        _ => false,
    }
}

fn within<'a>(value: &'a Value, found: &mut impl FnMut(&'a Name)) {
    match value {
        Value::Variable(name) => found(name),
        Value::List(items) => items.iter().for_each(|item| within(item, found)),
        Value::Object(fields) => fields.values().for_each(|value| within(value, found)),
        _ => {}
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
