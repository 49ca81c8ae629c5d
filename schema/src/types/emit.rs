//! Types into an async-graphql schema, which validates documents and answers introspection. Its resolvers never run but for that.

use async_graphql::dynamic as dy;

use super::model::{Argument, EnumType, Field, InputType, ObjectType, Type, TypeRef, Types};

/// How deep async-graphql may descend into a document. `limits` refuses what is deeper than it allows long before.
const MAX_RECURSION: usize = 64;

/// The async-graphql schema of these types. Fails only if they contradict themselves, which [`super::build`] does not let happen.
pub fn emit(types: &Types) -> Result<dy::Schema, dy::SchemaError> {
    let mut builder = dy::Schema::build("Query", Some("Mutation"), Some("Subscription"))
        .disable_suggestions()
        .limit_recursive_depth(MAX_RECURSION)
        .extension(crate::introspection::StopBeforeExecution);
    for ty in types.types.values() {
        builder = match ty {
            Type::Object(it) if it.interface => builder.register(interface(it)),
            Type::Object(it) if it.name == "Subscription" => builder.register(subscription(it)),
            Type::Object(it) => builder.register(object(it)),
            Type::Union(it) => {
                let union = it
                    .members
                    .iter()
                    .fold(dy::Union::new(&it.name), |u, member| u.possible_type(member));
                builder.register(match &it.description {
                    Some(text) => union.description(text.as_ref()),
                    None => union,
                })
            }
            Type::Enum(it) => builder.register(enumeration(it)),
            Type::Input(it) => builder.register(input(it)),
            Type::Scalar(it) if it.built_in => builder,
            Type::Scalar(it) => {
                let mut scalar = dy::Scalar::new(&it.name);
                if let Some(text) = &it.description {
                    scalar = scalar.description(text.as_ref());
                }
                if let Some(url) = &it.specified_by {
                    scalar = scalar.specified_by_url(url);
                }
                builder.register(scalar)
            }
        };
    }
    builder.finish()
}

/// Sets description and deprecation, which every builder of async-graphql has as methods of its own.
macro_rules! told {
    ($it:expr, $from:expr) => {{
        let mut it = $it;
        if let Some(text) = &$from.description {
            it = it.description(text.as_ref());
        }
        if let Some(reason) = &$from.deprecated {
            it = it.deprecation(Some(reason.as_ref()));
        }
        it
    }};
}

fn type_ref(ty: &TypeRef) -> dy::TypeRef {
    match ty {
        TypeRef::Named(name) => dy::TypeRef::named(name),
        TypeRef::List(inner) => dy::TypeRef::List(Box::new(type_ref(inner))),
        TypeRef::NonNull(inner) => dy::TypeRef::NonNull(Box::new(type_ref(inner))),
    }
}

fn object(it: &ObjectType) -> dy::Object {
    let mut out = dy::Object::new(&it.name);
    if let Some(text) = &it.description {
        out = out.description(text.as_ref());
    }
    for name in &it.implements {
        out = out.implement(name);
    }
    for field in it.fields.values() {
        let mut f = told!(
            dy::Field::new(&field.name, type_ref(&field.ty), |_| dy::FieldFuture::Value(None)),
            field
        );
        for arg in &field.args {
            f = f.argument(argument(arg));
        }
        out = out.field(f);
    }
    out
}

fn interface(it: &ObjectType) -> dy::Interface {
    let mut out = dy::Interface::new(&it.name);
    if let Some(text) = &it.description {
        out = out.description(text.as_ref());
    }
    for field in it.fields.values() {
        let mut f = told!(dy::InterfaceField::new(&field.name, type_ref(&field.ty)), field);
        for arg in &field.args {
            f = f.argument(argument(arg));
        }
        out = out.field(f);
    }
    out
}

fn subscription(it: &ObjectType) -> dy::Subscription {
    let mut out = dy::Subscription::new(&it.name);
    if let Some(text) = &it.description {
        out = out.description(text.as_ref());
    }
    for field in it.fields.values() {
        out = out.field(subscription_field(field));
    }
    out
}

fn subscription_field(field: &Field) -> dy::SubscriptionField {
    let made = dy::SubscriptionField::new(&field.name, type_ref(&field.ty), |_| {
        dy::SubscriptionFieldFuture::new(async {
            Ok(futures_util::stream::empty::<Result<dy::FieldValue<'static>, async_graphql::Error>>())
        })
    });
    let mut f = told!(made, field);
    for arg in &field.args {
        f = f.argument(argument(arg));
    }
    f
}

fn enumeration(it: &EnumType) -> dy::Enum {
    let mut out = dy::Enum::new(&it.name);
    if let Some(text) = &it.description {
        out = out.description(text.as_ref());
    }
    for (name, value) in &it.values {
        out = out.item(told!(dy::EnumItem::new(name), value));
    }
    out
}

fn input(it: &InputType) -> dy::InputObject {
    let mut out = dy::InputObject::new(&it.name);
    if let Some(text) = &it.description {
        out = out.description(text.as_ref());
    }
    if it.one_of {
        out = out.oneof();
    }
    for field in it.fields.values() {
        out = out.field(argument(field));
    }
    out
}

fn argument(arg: &Argument) -> dy::InputValue {
    let mut out = told!(dy::InputValue::new(&arg.name, type_ref(&arg.ty)), arg);
    if let Some(default) = &arg.default {
        out = out.default_value(default.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use klio_entities::klass::Kind;
    use klio_entities::klass::relationship::Cardinality;

    use super::*;
    use crate::types::build;
    use crate::types::testing::{self, choice, klass, property, registry, relate};

    #[test]
    fn a_shop_is_a_valid_schema() {
        let types = build(&testing::shop()).map_err(|f| f.to_string());
        let types = types.unwrap_or_else(|faults| panic!("{faults}"));
        emit(&types).unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn two_hundred_klasses_are_built_fast() {
        let mut all: Vec<_> = (0..200)
            .map(|k| {
                let kinds = [
                    Kind::String,
                    Kind::Integer { big: false },
                    Kind::Money,
                    Kind::DateTime,
                    Kind::Boolean,
                    Kind::Text,
                ];
                let properties = (0..30).map(|p| {
                    let kind = if p % 10 == 9 {
                        choice(None, &["a", "b", "c"])
                    } else {
                        kinds[p % kinds.len()].clone()
                    };
                    let mut it = property(&format!("property{p}"), kind);
                    it.indexed = p % 5 == 0;
                    it
                });
                klass(&format!("klass{k}"), &format!("klass{k}s"), properties.collect())
            })
            .collect();
        let relationships = (1..200)
            .map(|k| {
                let (from, to) = (format!("klass{k}"), format!("klass{}", k - 1));
                relate(
                    &mut all,
                    (&from, "parent"),
                    &[&to],
                    Cardinality::One,
                    ("children", Cardinality::Many),
                    vec![],
                )
            })
            .collect();
        let registry = registry(all, relationships);
        let began = Instant::now();
        let types = build(&registry).unwrap_or_else(|faults| panic!("{faults}"));
        let built = began.elapsed();
        emit(&types).unwrap_or_else(|error| panic!("{error}"));
        let emitted = began.elapsed();
        let text = crate::sdl::print(&types);
        println!(
            "200 klasses of 30 properties: {} types, built in {built:?}, with async-graphql's in {emitted:?}, with SDL of {} KB in {:?}",
            types.types.len(),
            text.len() / 1000,
            began.elapsed()
        );
        // Without optimisation and beside others; the bar of 100 ms is for a release build.
        assert!(emitted < Duration::from_secs(10), "{emitted:?}");
    }
}
