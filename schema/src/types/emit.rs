//! Types into an async-graphql schema, which validates documents and answers introspection. Its resolvers never run but for that.

use async_graphql::dynamic as dy;

use super::model::{Argument, EnumType, Field, InputType, ObjectType, Type, TypeRef, Types};

/// How deep async-graphql may descend into a document. `limits` refuses what is deeper than it allows long before.
const MAX_RECURSION: usize = 64;

/// The async-graphql schema of these types: for introspection. Fails only if they contradict themselves, which [`super::build`]
/// does not let happen.
pub fn emit(types: &Types) -> Result<dy::Schema, dy::SchemaError> {
    types
        .types
        .values()
        .fold(start(Some("Mutation"), Some("Subscription")), one)
        .finish()
}

/// A schema without types.
pub(super) fn start(mutation: Option<&str>, subscription: Option<&str>) -> dy::SchemaBuilder {
    dy::Schema::build("Query", mutation, subscription)
        .disable_suggestions()
        .limit_recursive_depth(MAX_RECURSION)
        .extension(crate::introspection::StopBeforeExecution)
}

/// With one type more.
pub(super) fn one(builder: dy::SchemaBuilder, ty: &Type) -> dy::SchemaBuilder {
    match ty {
        Type::Object(it) => some_fields(builder, it, |_| true, |_| true, ""),
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
        Type::Input(it) => some_inputs(builder, it, |_| true),
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
    }
}

/// With an object type or interface more, and some of its fields and arguments; with a field `filler` if there would be none.
pub(super) fn some_fields(
    builder: dy::SchemaBuilder,
    it: &ObjectType,
    keep: impl Fn(&Field) -> bool,
    keep_argument: impl Fn(&Argument) -> bool,
    filler: &str,
) -> dy::SchemaBuilder {
    let fields = it.fields.values().filter(|f| keep(f));
    if it.interface {
        builder.register(interface(it, fields, keep_argument))
    } else if it.name == "Subscription" {
        builder.register(subscription(it, fields, keep_argument))
    } else {
        builder.register(object(it, fields, keep_argument, filler))
    }
}

/// With an input object more, and some of its fields.
pub(super) fn some_inputs(builder: dy::SchemaBuilder, it: &InputType, keep: impl Fn(&Argument) -> bool) -> dy::SchemaBuilder {
    let mut out = dy::InputObject::new(&it.name);
    if let Some(text) = &it.description {
        out = out.description(text.as_ref());
    }
    if it.one_of {
        out = out.oneof();
    }
    for field in it.fields.values().filter(|f| keep(f)) {
        out = out.field(argument(field));
    }
    builder.register(out)
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

fn object<'a>(it: &ObjectType, fields: impl Iterator<Item = &'a Field>, keep: impl Fn(&Argument) -> bool, filler: &str) -> dy::Object {
    let mut out = dy::Object::new(&it.name);
    if let Some(text) = &it.description {
        out = out.description(text.as_ref());
    }
    for name in &it.implements {
        out = out.implement(name);
    }
    let mut any = false;
    for field in fields {
        let mut f = told!(
            dy::Field::new(&field.name, type_ref(&field.ty), |_| dy::FieldFuture::Value(None)),
            field
        );
        for arg in field.args.iter().filter(|a| keep(a)) {
            f = f.argument(argument(arg));
        }
        out = out.field(f);
        any = true;
    }
    if !any {
        let nothing = dy::Field::new(filler, dy::TypeRef::named(dy::TypeRef::BOOLEAN), |_| dy::FieldFuture::Value(None));
        out = out.field(nothing);
    }
    out
}

fn interface<'a>(it: &ObjectType, fields: impl Iterator<Item = &'a Field>, keep: impl Fn(&Argument) -> bool) -> dy::Interface {
    let mut out = dy::Interface::new(&it.name);
    if let Some(text) = &it.description {
        out = out.description(text.as_ref());
    }
    for field in fields {
        let mut f = told!(dy::InterfaceField::new(&field.name, type_ref(&field.ty)), field);
        for arg in field.args.iter().filter(|a| keep(a)) {
            f = f.argument(argument(arg));
        }
        out = out.field(f);
    }
    out
}

fn subscription<'a>(it: &ObjectType, fields: impl Iterator<Item = &'a Field>, keep: impl Fn(&Argument) -> bool) -> dy::Subscription {
    let mut out = dy::Subscription::new(&it.name);
    if let Some(text) = &it.description {
        out = out.description(text.as_ref());
    }
    for field in fields {
        out = out.field(subscription_field(field, &keep));
    }
    out
}

fn subscription_field(field: &Field, keep: impl Fn(&Argument) -> bool) -> dy::SubscriptionField {
    let made = dy::SubscriptionField::new(&field.name, type_ref(&field.ty), |_| {
        dy::SubscriptionFieldFuture::new(async {
            Ok(futures_util::stream::empty::<Result<dy::FieldValue<'static>, async_graphql::Error>>())
        })
    });
    let mut f = told!(made, field);
    for arg in field.args.iter().filter(|a| keep(a)) {
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

fn argument(arg: &Argument) -> dy::InputValue {
    let mut out = told!(dy::InputValue::new(&arg.name, type_ref(&arg.ty)), arg);
    if let Some(default) = &arg.default {
        out = out.default_value(default.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
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

    /// The time that this thread ran, so that a busy machine does not count; the clock's time where the system does not tell.
    fn cpu() -> Duration {
        static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let ran = told.and_then(|text| text.split(' ').next()?.parse().ok());
        ran.map_or_else(|| STARTED.elapsed(), Duration::from_nanos)
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
        let began = cpu();
        let types = build(&registry).unwrap_or_else(|faults| panic!("{faults}"));
        let built = cpu() - began;
        let text = "query q($f: Klass7Filter) { klass7s(filter: $f, first: 3) { nodes { property1 parent { property2 { amount } } } totalCount } }";
        let document = async_graphql::parser::parse_query(text).unwrap_or_else(|error| panic!("{error}"));
        let began = cpu();
        crate::introspection::validate(&types, &document).unwrap_or_else(|errors| panic!("{errors:?}"));
        let validated = cpu() - began;
        let began = cpu();
        emit(&types).unwrap_or_else(|error| panic!("{error}"));
        let emitted = cpu() - began;
        let began = cpu();
        let text = crate::sdl::print(&types);
        let printed = cpu() - began;
        println!(
            "200 klasses of 30 properties, {} types: built in {built:?}; a document validated in {validated:?}; async-graphql's schema in \
             {emitted:?}; SDL of {} KB in {printed:?}",
            types.types.len(),
            text.len() / 1000,
        );
        let bar = Duration::from_millis(if cfg!(debug_assertions) { 2_000 } else { 100 });
        assert!(built < bar, "{built:?}");
        assert!(validated < Duration::from_millis(100), "{validated:?}");
    }
}
