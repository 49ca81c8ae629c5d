//! Variables and arguments to typed values, as the specification (October 2021, §3 and §6.1.2, §6.4.1) says.
//!
//! A value keeps in mind from which leaf of the variables it came ([`Slot`]), so that a plan made once can run again with
//! other leaves: what changes a statement (presence, nulls, keys, lengths, enums, booleans) is the variables' *shape* and
//! part of the plan's key; the rest are arguments.

use std::fmt::Write as _;

use async_graphql_parser::types::{BaseType, Field, OperationDefinition, Type as AstType};
use async_graphql_parser::{Pos, Positioned};
use async_graphql_value::{ConstValue, Name, Value as Ast};
use indexmap::IndexMap;
use klio_entities::klass::Value;
use serde_json::Value as Json;

use super::scalar::{clip, scalar_literal, short};
pub use super::scalar::{decimal, scalar_of_json};
use crate::error::Error;
use crate::types::model::{Argument, Type, TypeRef, Types};

/// A scalar leaf of the variables: its place in [`Variables::leaves`].
pub type Slot = usize;

/// A coerced value of an input type.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// An explicit null.
    Null,
    /// A scalar, or a whole list of scalars out of a variable; with the slot if it came out of a variable.
    Leaf(Value, Option<Slot>),
    /// A `Float`.
    Float(f64),
    /// An enum's value, by its legal name.
    Enum(Name),
    /// A list.
    List(Vec<Input>),
    /// An input object: what was given, and defaults.
    Object(IndexMap<Name, Input>),
}

impl Input {
    /// Is an explicit null.
    pub fn is_null(&self) -> bool {
        matches!(self, Input::Null | Input::Leaf(Value::Null, _))
    }
    /// A field of an input object.
    pub fn get(&self, name: &str) -> Option<&Input> {
        match self {
            Input::Object(fields) => fields.get(name),
            _ => None,
        }
    }
    /// The text of a string-like scalar, or the name of an enum's value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Input::Leaf(Value::String(text), _) => Some(text),
            Input::Enum(name) => Some(name),
            _ => None,
        }
    }
    /// A whole number.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Input::Leaf(Value::Integer(number), _) => Some(*number),
            _ => None,
        }
    }
    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Input::Leaf(Value::Bool(it), _) => Some(*it),
            _ => None,
        }
    }
    /// The items of a list (of either form); anything else has none.
    pub fn items(&self) -> Vec<Input> {
        match self {
            Input::List(items) => items.clone(),
            Input::Leaf(Value::List(items), _) => items
                .iter()
                .map(|item| match item {
                    Value::Null => Input::Null,
                    other => Input::Leaf(other.clone(), None),
                })
                .collect(),
            _ => Vec::new(),
        }
    }
    /// The same with the leaves of another run whose variables have the same shape.
    pub fn with_leaves(&self, leaves: &[Value]) -> Input {
        match self {
            Input::Leaf(value, Some(slot)) => Input::Leaf(leaves.get(*slot).unwrap_or(value).clone(), Some(*slot)),
            Input::List(items) => Input::List(items.iter().map(|item| item.with_leaves(leaves)).collect()),
            Input::Object(fields) => Input::Object(
                fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.with_leaves(leaves)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }
    /// The value without its provenance: enums by legal name, objects as JSON.
    pub fn to_json(&self) -> Json {
        match self {
            Input::Null => Json::Null,
            Input::Leaf(value, _) => value_to_json(value),
            Input::Float(number) => Json::from(*number),
            Input::Enum(name) => Json::String(name.to_string()),
            Input::List(items) => Json::Array(items.iter().map(Input::to_json).collect()),
            Input::Object(fields) => Json::Object(fields.iter().map(|(k, v)| (k.to_string(), v.to_json())).collect()),
        }
    }
}

fn value_to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(it) => Json::Bool(*it),
        Value::Integer(it) => Json::from(*it),
        Value::Decimal(it) => Json::String(it.normalize().to_string()),
        Value::String(it) => Json::String(it.clone()),
        Value::Date(it) => Json::String(it.to_string()),
        Value::DateTime(it) => Json::String(it.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
        Value::Id(it) => Json::String(it.to_string()),
        Value::Money { amount, currency } => serde_json::json!({ "amount": amount.normalize().to_string(), "currency": currency }),
        Value::Json(it) => it.clone(),
        Value::List(items) => Json::Array(items.iter().map(value_to_json).collect()),
    }
}

/// The variables of a request, coerced.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// Those that have a value (given, or by default). An omitted one is absent: it never becomes null.
    pub values: IndexMap<Name, Input>,
    /// Every scalar leaf, in the order of the definitions.
    pub leaves: Vec<Value>,
    /// What of them changes a statement.
    pub shape: String,
}

/// Coerces a request's variables against what the operation declares. All that is wrong is told, not the first alone.
pub fn coerce_variables(
    types: &Types,
    operation: &OperationDefinition,
    given: &serde_json::Map<String, Json>,
) -> Result<Variables, Vec<Error>> {
    let mut out = Variables::default();
    let mut errors = Vec::new();
    for definition in &operation.variable_definitions {
        let (pos, definition) = (definition.pos, &definition.node);
        let name = &definition.name.node;
        let ty = type_ref(&definition.var_type.node);
        let value = match (given.get(name.as_str()), &definition.default_value) {
            (Some(json), _) => {
                let mut path = format!("${name}");
                match json_value(types, &ty, json, &mut path, &mut out.leaves) {
                    Ok(value) => Some(value),
                    Err(problem) => {
                        errors.push(
                            Error::bad(format!(
                                "Variable \"${name}\" got invalid value {}{}; {}",
                                short(json),
                                if path.len() > name.len() + 1 {
                                    format!(" at \"{}\"", &path[1..])
                                } else {
                                    String::new()
                                },
                                problem
                            ))
                            .at(pos),
                        );
                        continue;
                    }
                }
            }
            (None, Some(default)) => match literal(types, &ty, &default.node.clone().into_value(), &Variables::default()) {
                Ok(value) => value,
                Err(problem) => {
                    errors.push(Error::bad(format!("Variable \"${name}\" has an invalid default value; {problem}")).at(pos));
                    continue;
                }
            },
            (None, None) if ty.is_required() => {
                errors.push(Error::bad(format!("Variable \"${name}\" of required type \"{ty}\" was not provided.")).at(pos));
                continue;
            }
            (None, None) => None,
        };
        match value {
            Some(value) => {
                out.shape.push('=');
                write_shape(&value, &mut out.shape);
                out.values.insert(name.clone(), value);
            }
            None => out.shape.push('-'),
        }
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

/// What of a value changes a statement.
fn write_shape(value: &Input, out: &mut String) {
    // Writing to a String cannot fail.
    match value {
        Input::Null => out.push('n'),
        Input::Leaf(Value::Bool(it), _) => out.push(if *it { 't' } else { 'f' }),
        Input::Leaf(_, Some(_)) => out.push('s'),
        Input::Leaf(value, None) => {
            let _ = write!(out, "c{value:?};");
        }
        Input::Float(number) => {
            let _ = write!(out, "d{:x};", number.to_bits());
        }
        Input::Enum(name) => {
            let _ = write!(out, "e{name};");
        }
        Input::List(items) => {
            let _ = write!(out, "[{}", items.len());
            for item in items {
                write_shape(item, out);
            }
        }
        Input::Object(fields) => {
            out.push('{');
            for (name, value) in fields {
                let _ = write!(out, "{name}:");
                write_shape(value, out);
            }
            out.push('}');
        }
    }
}

/// The type that a document writes, as the schema's own kind of reference.
pub fn type_ref(ty: &AstType) -> TypeRef {
    let inner = match &ty.base {
        BaseType::Named(name) => TypeRef::named(name.to_string()),
        BaseType::List(item) => type_ref(item).list(),
    };
    if ty.nullable { inner } else { inner.required() }
}

/// The arguments of a field, coerced, by name.
#[derive(Clone, Debug, Default)]
pub struct Arguments(pub IndexMap<String, Input>);

impl Arguments {
    /// An argument, null included.
    pub fn get(&self, name: &str) -> Option<&Input> {
        self.0.get(name)
    }
    /// The same with the leaves of another run whose variables have the same shape. A plan outlives the variables with which it
    /// was made, so whoever runs one takes its arguments through this.
    pub fn with_leaves(&self, leaves: &[Value]) -> Arguments {
        Arguments(
            self.0
                .iter()
                .map(|(name, value)| (name.clone(), value.with_leaves(leaves)))
                .collect(),
        )
    }
    /// An argument that is there and not null.
    pub fn given(&self, name: &str) -> Option<&Input> {
        self.0.get(name).filter(|input| !input.is_null())
    }
}

/// Coerces a field's arguments. An argument whose variable is absent is absent (its default applies).
pub fn coerce_arguments(types: &Types, declared: &[Argument], field: &Field, pos: Pos, variables: &Variables) -> Result<Arguments, Error> {
    coerce_named(types, declared, &field.name.node, &field.arguments, pos, variables)
}

/// See [`coerce_arguments`]; for whatever has arguments (fields, directives).
pub fn coerce_named(
    types: &Types,
    declared: &[Argument],
    of: &str,
    given: &[(Positioned<Name>, Positioned<Ast>)],
    pos: Pos,
    variables: &Variables,
) -> Result<Arguments, Error> {
    let mut out = Arguments(IndexMap::with_capacity(declared.len()));
    for argument in declared {
        let literal_given = given.iter().find(|(name, _)| *name.node == *argument.name).map(|(_, value)| value);
        let value = match literal_given {
            Some(value) => literal(types, &argument.ty, &value.node, variables).map_err(|problem| {
                Error::bad(format!(
                    "Argument \"{}\" of \"{of}\" has an invalid value; {problem}",
                    argument.name
                ))
                .at(value.pos)
            })?,
            None => None,
        };
        let value = match (value, &argument.default) {
            (Some(value), _) => Some(value),
            (None, Some(default)) => literal(types, &argument.ty, &default.clone().into_value(), variables)
                .map_err(|problem| Error::internal(format!("default of argument {} of {of}: {problem}", argument.name)))?,
            (None, None) => None,
        };
        match value {
            Some(value) => {
                out.0.insert(argument.name.as_str().to_owned(), value);
            }
            None if argument.ty.is_required() => {
                return Err(Error::bad(format!(
                    "Argument \"{}\" of \"{of}\" of required type \"{}\" was not provided.",
                    argument.name, argument.ty
                ))
                .at(literal_given.map_or(pos, |value| value.pos)));
            }
            None => {}
        }
    }
    Ok(out)
}

/// A literal, variables in it included. `None`: it is a variable that has no value.
pub fn literal(types: &Types, ty: &TypeRef, value: &Ast, variables: &Variables) -> Result<Option<Input>, String> {
    if let Ast::Variable(name) = value {
        return match variables.values.get(name.as_str()) {
            Some(Input::Null) if ty.is_required() => Err(format!("expected non-nullable type \"{ty}\" not to be null.")),
            Some(value) => Ok(Some(value.clone())),
            None => Ok(None),
        };
    }
    match ty {
        TypeRef::NonNull(inner) => match value {
            Ast::Null => Err(format!("expected non-nullable type \"{ty}\" not to be null.")),
            _ => literal(types, inner, value, variables),
        },
        _ if matches!(value, Ast::Null) => Ok(Some(Input::Null)),
        TypeRef::List(item) => {
            let items = match value {
                Ast::List(items) => items
                    .iter()
                    .map(|value| match literal(types, item, value, variables)? {
                        Some(input) => Ok(input),
                        // A variable without a value within a list is null (§3.11).
                        None if item.is_required() => Err(format!("expected non-nullable type \"{item}\" not to be null.")),
                        None => Ok(Input::Null),
                    })
                    .collect::<Result<Vec<_>, _>>()?,
                single => vec![literal(types, item, single, variables)?.unwrap_or(Input::Null)],
            };
            Ok(Some(Input::List(items)))
        }
        TypeRef::Named(name) => named_literal(types, name, value, variables).map(Some),
    }
}

fn named_literal(types: &Types, name: &str, value: &Ast, variables: &Variables) -> Result<Input, String> {
    match types.types.get(name) {
        Some(Type::Enum(it)) => match value {
            Ast::Enum(given) if it.values.contains_key(given.as_str()) => Ok(Input::Enum(given.clone())),
            Ast::Enum(given) => Err(format!("value \"{given}\" does not exist in \"{name}\" enum.")),
            other => Err(format!("enum \"{name}\" cannot represent non-enum value: {other}.")),
        },
        Some(Type::Input(it)) => {
            let Ast::Object(given) = value else {
                return Err(format!("expected value of type \"{name}\", found {value}."));
            };
            if let Some(unknown) = given.keys().find(|key| !it.fields.contains_key(key.as_str())) {
                return Err(format!("field \"{unknown}\" is not defined by type \"{name}\"."));
            }
            let mut out = IndexMap::with_capacity(given.len());
            for field in it.fields.values() {
                let value = match given.get(field.name.as_str()) {
                    Some(value) => literal(types, &field.ty, value, variables).map_err(|p| format!("at \"{}\": {p}", field.name))?,
                    None => None,
                };
                settle(types, field, value, name, &mut out)?;
            }
            one_of(it.one_of, name, &out, given.len())?;
            Ok(Input::Object(out))
        }
        _ => scalar_literal(types, name, value, variables),
    }
}

/// Puts a field's value into an input object, or its default, or finds it missing.
fn settle(types: &Types, field: &Argument, value: Option<Input>, of: &str, out: &mut IndexMap<Name, Input>) -> Result<(), String> {
    let value = match (value, &field.default) {
        (Some(value), _) => value,
        (None, Some(default)) => match literal(types, &field.ty, &default.clone().into_value(), &Variables::default())? {
            Some(value) => value,
            None => return Ok(()),
        },
        (None, None) if field.ty.is_required() => {
            return Err(format!(
                "field \"{}.{}\" of required type \"{}\" was not provided.",
                of, field.name, field.ty
            ));
        }
        (None, None) => return Ok(()),
    };
    out.insert(Name::new(&field.name), value);
    Ok(())
}

fn one_of(wanted: bool, name: &str, fields: &IndexMap<Name, Input>, given: usize) -> Result<(), String> {
    if wanted && (fields.len() != 1 || given != 1 || fields.values().any(Input::is_null)) {
        return Err(format!(
            "exactly one key must be specified for OneOf type \"{name}\", and it must not be null."
        ));
    }
    Ok(())
}

/// A value out of a request's variables. `path` grows to where something is wrong.
fn json_value(types: &Types, ty: &TypeRef, json: &Json, path: &mut String, leaves: &mut Vec<Value>) -> Result<Input, String> {
    match ty {
        TypeRef::NonNull(inner) => match json {
            Json::Null => Err(format!("expected non-nullable type \"{ty}\" not to be null.")),
            _ => json_value(types, inner, json, path, leaves),
        },
        _ if json.is_null() => Ok(Input::Null),
        TypeRef::List(item) => {
            let single;
            let items = match json {
                Json::Array(items) => items.as_slice(),
                other => {
                    single = [other.clone()];
                    &single
                }
            };
            if is_plain_scalar(types, item) {
                return scalar_list(types, item, items, path)
                    .map(|values| Input::Leaf(Value::List(values.clone()), Some(keep(leaves, Value::List(values)))));
            }
            let before = path.len();
            let mut out = Vec::with_capacity(items.len());
            for (i, json) in items.iter().enumerate() {
                let _ = write!(path, "[{i}]");
                out.push(json_value(types, item, json, path, leaves)?);
                path.truncate(before);
            }
            Ok(Input::List(out))
        }
        TypeRef::Named(name) => match types.types.get(name) {
            Some(Type::Enum(it)) => match json {
                Json::String(text) if it.values.contains_key(text) => Ok(Input::Enum(Name::new(text))),
                Json::String(text) => Err(format!("value \"{}\" does not exist in \"{name}\" enum.", clip(text))),
                _ => Err(format!("enum \"{name}\" cannot represent non-string value: {}.", short(json))),
            },
            Some(Type::Input(it)) => {
                let Json::Object(given) = json else {
                    return Err(format!("expected type \"{name}\" to be an object."));
                };
                if let Some(unknown) = given.keys().find(|key| !it.fields.contains_key(key.as_str())) {
                    return Err(format!("field \"{}\" is not defined by type \"{name}\".", clip(unknown)));
                }
                let before = path.len();
                let mut out = IndexMap::with_capacity(given.len());
                for field in it.fields.values() {
                    let value = match given.get(field.name.as_str()) {
                        Some(json) => {
                            let _ = write!(path, ".{}", field.name);
                            let value = json_value(types, &field.ty, json, path, leaves)?;
                            path.truncate(before);
                            Some(value)
                        }
                        None => None,
                    };
                    settle(types, field, value, name, &mut out)?;
                }
                one_of(it.one_of, name, &out, given.len())?;
                Ok(Input::Object(out))
            }
            Some(Type::Scalar(_)) if name == "Float" => match json.as_f64() {
                Some(number) => Ok(Input::Float(number)),
                None => Err(format!("Float cannot represent non numeric value: {}", short(json))),
            },
            Some(Type::Scalar(_)) => {
                let value = scalar_of_json(name, json)?;
                if let Value::Bool(_) = value {
                    return Ok(Input::Leaf(value, None));
                }
                Ok(Input::Leaf(value.clone(), Some(keep(leaves, value))))
            }
            _ => Err(format!("\"{name}\" is not an input type.")),
        },
    }
}

fn keep(leaves: &mut Vec<Value>, value: Value) -> Slot {
    leaves.push(value);
    leaves.len() - 1
}

/// A scalar whose value is an argument of a statement and not part of its text. (JSON stands for itself: a list of it is a list.)
fn is_plain_scalar(types: &Types, ty: &TypeRef) -> bool {
    match ty.nullable() {
        TypeRef::Named(name) => matches!(types.types.get(name), Some(Type::Scalar(_))) && !matches!(name.as_str(), "Boolean" | "Float"),
        _ => false,
    }
}

fn scalar_list(types: &Types, item: &TypeRef, items: &[Json], path: &mut String) -> Result<Vec<Value>, String> {
    let before = path.len();
    let mut out = Vec::with_capacity(items.len());
    for (i, json) in items.iter().enumerate() {
        let _ = write!(path, "[{i}]");
        let mut none = Vec::new();
        out.push(match json_value(types, item, json, path, &mut none)? {
            Input::Leaf(value, _) => value,
            _ => Value::Null,
        });
        path.truncate(before);
    }
    Ok(out)
}

/// A literal without variables, coerced: for defaults.
pub fn constant(types: &Types, ty: &TypeRef, value: &ConstValue) -> Result<Option<Input>, String> {
    literal(types, ty, &value.clone().into_value(), &Variables::default())
}
