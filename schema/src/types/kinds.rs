//! From a property's kind to the types that say it: on output, on input, in filters. Enums and object kinds get types of their own,
//! once each, however many properties share them.

use klio_entities::klass::filter::{Op, Target};
use klio_entities::klass::kind::{EnumKind, ObjectKind};
use klio_entities::klass::{Fault, Kind, Klass, Property, standard};
use std::sync::Arc;

use super::model::{Argument, ByName, EnumMeaning, EnumType, EnumValue, Field, InputMeaning, Meaning, Name, Text, Type, TypeRef};
use super::{Builder, Owner, input, list, names, object, t};

/// The name of an enum kind's type.
pub(super) fn enum_name(kind: &EnumKind, owner: &str, property: &str) -> String {
    kind.type_name.clone().unwrap_or_else(|| names::of_property(owner, property))
}

/// The name of an object kind's output type.
pub(super) fn object_name(kind: &ObjectKind, owner: &str, property: &str) -> String {
    kind.type_name.clone().unwrap_or_else(|| names::of_property(owner, property))
}

/// The scalar of a kind that has one.
pub(super) fn scalar(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Id => "ID",
        Kind::String | Kind::Text | Kind::Tree { .. } => "String",
        Kind::Integer { big: false } => "Int",
        Kind::Integer { big: true } => "BigInt",
        Kind::Decimal => "Decimal",
        Kind::Boolean => "Boolean",
        Kind::Date => "Date",
        Kind::DateTime => "DateTime",
        Kind::Url => "URL",
        Kind::Email => "EmailAddress",
        Kind::Phone => "PhoneNumber",
        Kind::Json => "JSON",
        Kind::Actor | Kind::Enum(_) | Kind::Money | Kind::Object(_) | Kind::List(_) => return None,
    })
}

/// The output type of a kind, nullable. `owner` and `property` name the types of kinds that share none.
pub(crate) fn output(kind: &Kind, owner: &str, property: &str) -> TypeRef {
    match kind {
        Kind::Actor => t("Actor"),
        Kind::Money => t("Money"),
        Kind::Enum(it) => t(enum_name(it, owner, property)),
        Kind::Object(it) => t(object_name(it, owner, property)),
        Kind::List(item) => output(item, owner, property).required().list(),
        // Every other kind has a scalar; JSON says anything.
        other => t(scalar(other).unwrap_or("JSON")),
    }
}

/// The input type of a kind, nullable.
pub(super) fn value(kind: &Kind, owner: &str, property: &str) -> TypeRef {
    match kind {
        Kind::Money => t("MoneyInput"),
        Kind::Object(it) => t(object_name(it, owner, property) + "Input"),
        Kind::List(item) => value(item, owner, property).required().list(),
        other => output(other, owner, property),
    }
}

impl Builder<'_> {
    /// The types of a property's enum or object kind, unless they are there.
    pub(super) fn kind_types(&mut self, klass: &Arc<Klass>, property: &Property) {
        self.item_types(
            property.kind.item(),
            &klass.legal.type_name,
            &property.legal,
            &format!("{}.{}", klass.name, property.name),
        );
    }

    /// As [`Self::kind_types`], for a kind that belongs to `owner`'s `name`; `place` is told in faults.
    pub(super) fn item_types(&mut self, kind: &Kind, owner: &str, name: &str, place: &str) {
        let outer = self.owner.clone();
        self.owner = Owner::Kind(place.into());
        match kind {
            Kind::Enum(it) => self.enum_types(it, enum_name(it, owner, name)),
            Kind::Object(it) => self.object_types(it, object_name(it, owner, name), place),
            _ => {}
        }
        self.owner = outer;
    }

    fn enum_types(&mut self, kind: &EnumKind, name: String) {
        if let Some(Type::Enum(there)) = self.types.get(&name)
            && let Some(Owner::Kind(_)) = self.owners.get(name.as_str())
        {
            let same = there.values.len() == kind.values.len()
                && there
                    .values
                    .iter()
                    .zip(&kind.values)
                    .all(|((legal, v), w)| *legal == w.legal && matches!(&v.means, EnumMeaning::Stored(s) if *s == w.value));
            if !same {
                self.differs(&name);
            }
            return;
        }
        let mut values = ByName::with_capacity_and_hasher(kind.values.len(), Default::default());
        for v in &kind.values {
            self.legal(&v.legal, || format!("The value `{}`", v.value));
            let value = EnumValue {
                description: v
                    .description
                    .clone()
                    .map(Into::into)
                    .or_else(|| Some(format!("`{}`.", v.value).into())),
                deprecated: v.deprecated.clone().map(Into::into),
                means: EnumMeaning::Stored(v.value.clone()),
            };
            if matches!(v.legal.as_str(), "true" | "false" | "null") || values.insert(Name::from(&v.legal), value).is_some() {
                let fault = Fault::bad(
                    self.path(),
                    format!("The value `{}` cannot have the GraphQL name `{}`", v.value, v.legal),
                )
                .remedy("Give the value a name that no other value of the enum has.");
                self.faults.push(fault);
            }
        }
        if values.is_empty() {
            let fault = Fault::bad(self.path(), format!("The enum `{name}` has no values")).remedy("Give it at least one.");
            self.faults.push(fault);
        }
        self.add_enum(EnumType {
            description: Some(shared_text(&name).unwrap_or_else(|| format!("One of {} values.", values.len()).into())),
            name: Name::of(&name),
            values,
        });
        let mut one = input(format!("{name}Filter"), None, format!("Conditions on a value of `{name}`."));
        for field in equality(&name) {
            one.fields.insert(field.name.clone(), field);
        }
        self.add_input(one);
    }

    /// The filter of lists of an enum: made when a property needs it.
    fn enum_list_filter(&mut self, name: &str) -> String {
        let filter = format!("{name}ListFilter");
        if !self.types.contains_key(&filter) {
            let outer = std::mem::replace(&mut self.owner, Owner::Kind(name.into()));
            self.add_input(super::operators::list_filter(&filter, name));
            self.owner = outer;
        }
        filter
    }

    fn object_types(&mut self, kind: &ObjectKind, name: String, place: &str) {
        if let Some(Type::Object(there)) = self.types.get(&name)
            && let Some(Owner::Kind(_)) = self.owners.get(name.as_str())
        {
            let same = there.fields.len() == kind.parts.len()
                && kind.parts.iter().all(|p| {
                    there
                        .fields
                        .get(&p.name)
                        .is_some_and(|f| *f.ty.nullable() == output(&p.kind, &name, &p.name))
                });
            if !same {
                self.differs(&name);
            }
            return;
        }
        let about = shared_text(&name).unwrap_or_else(|| format!("The parts of a `{name}`.").into());
        let mut out = object(&name, about);
        let mut given = input(
            format!("{name}Input"),
            None,
            format!("A `{name}` to be written; it replaces the former one whole."),
        );
        let mut conditions = input(format!("{name}Filter"), None, format!("Conditions on the parts of a `{name}`."));
        conditions.fields.insert("isNull".into(), is_null());
        for part in &kind.parts {
            self.legal(&part.name, || format!("The part `{}` of `{name}`", part.name));
            self.item_types(part.kind.item(), &name, &part.name, &format!("{place}.{}", part.name));
            let description = part.description.clone().unwrap_or_else(|| format!("Its {}.", part.name));
            let ty = output(&part.kind, &name, &part.name);
            let ty = if part.required { ty.required() } else { ty };
            self.put(
                &mut out,
                Field::new(&part.name, ty, Meaning::Part(part.name.clone()), description.clone()),
            );
            let ty = value(&part.kind, &name, &part.name);
            let ty = if part.required { ty.required() } else { ty };
            self.put_input(
                &mut given,
                Argument::new(&part.name, ty, InputMeaning::ValuePart(part.name.clone()), description.clone()),
            );
            if let Some(filter) = self.filter_of(&name, &part.kind, &part.name) {
                let field = Argument::new(&part.name, t(filter), InputMeaning::TargetPart(part.name.clone()), description);
                self.put_input(&mut conditions, field);
            }
        }
        if out.fields.is_empty() {
            let fault = Fault::bad(self.path(), format!("The object kind `{name}` has no parts"))
                .remedy("Give it at least one, or make it `json`.");
            self.faults.push(fault);
            return;
        }
        self.add_object(out);
        self.add_input(given);
        self.add_input(conditions);
        let mut items = super::operators::items_filter(&format!("{name}ListFilter"), &name, &format!("{name}Filter"));
        if has_place(kind) {
            items.fields.insert(
                "near".into(),
                Argument::new(
                    "near",
                    t("NearInput"),
                    InputMeaning::Operator(Op::Near),
                    "At least one is within so many kilometres of a point.",
                ),
            );
        }
        self.add_input(items);
    }

    fn differs(&mut self, name: &str) {
        let other = self.owners.get(name).cloned().unwrap_or(Owner::BuiltIn);
        let fault = Fault::bad(
            self.path(),
            format!("The type `{name}` is shared with {other}, but is defined differently there"),
        )
        .remedy("Define both alike, or give one of them another `type`.");
        self.faults.push(fault);
    }

    /// The filter input of a kind that belongs to `owner`'s `name`: `None` when it cannot be filtered by.
    fn filter_of(&mut self, owner: &str, kind: &Kind, name: &str) -> Option<String> {
        Some(match kind {
            Kind::List(item) => match &**item {
                Kind::Enum(it) => self.enum_list_filter(&enum_name(it, owner, name)),
                Kind::Object(it) => object_name(it, owner, name) + "ListFilter",
                Kind::Money => "MoneyListFilter".into(),
                Kind::Json | Kind::Actor | Kind::List(_) => "IsNullFilter".into(),
                scalar_kind => format!("{}ListFilter", scalar(scalar_kind).unwrap_or("String")),
            },
            Kind::Actor => return None,
            Kind::Id => "IDFilter".into(),
            Kind::String | Kind::Text | Kind::Url | Kind::Email | Kind::Phone => "StringFilter".into(),
            Kind::Tree { .. } => "TreeFilter".into(),
            Kind::Integer { big: false } => "IntFilter".into(),
            Kind::Integer { big: true } => "BigIntFilter".into(),
            Kind::Decimal => "DecimalFilter".into(),
            Kind::Boolean => "BooleanFilter".into(),
            Kind::Date => "DateFilter".into(),
            Kind::DateTime => "DateTimeFilter".into(),
            Kind::Money => "MoneyFilter".into(),
            Kind::Json => "JSONFilter".into(),
            Kind::Enum(it) => enum_name(it, owner, name) + "Filter",
            Kind::Object(it) => object_name(it, owner, name) + "Filter",
        })
    }

    /// A filter's field for a property.
    pub(super) fn filter_field(&mut self, owner: &str, property: &Arc<Property>, target: fn(Arc<Property>) -> Target) -> Option<Argument> {
        let filter = self.filter_of(owner, &property.kind, &property.legal)?;
        Some(Argument {
            deprecated: property.deprecated.clone().map(Into::into),
            ..Argument::new(
                &property.legal,
                t(filter),
                InputMeaning::Target(target(Arc::clone(property))),
                super::describe(property, "Conditions on this property."),
            )
        })
    }
}

/// What a shared type is, as its definition says.
fn shared_text(name: &str) -> Option<Text> {
    let (_, text) = standard::shared_kinds().get(name)?;
    text.as_deref().map(Text::Borrowed)
}

/// Has a latitude and a longitude.
fn has_place(kind: &ObjectKind) -> bool {
    ["latitude", "longitude"].iter().all(|n| kind.parts.iter().any(|p| p.name == *n))
}

/// `isNull`.
pub(super) fn is_null() -> Argument {
    Argument::new(
        "isNull",
        t("Boolean"),
        InputMeaning::Operator(Op::IsNull),
        "`true`: has no value; `false`: has one.",
    )
}

/// `eq ne in notIn isNull` with operands of one type.
pub(super) fn equality(operand: &str) -> Vec<Argument> {
    let op = |name: &'static str, ty: TypeRef, op: Op, text: &'static str| Argument::new(name, ty, InputMeaning::Operator(op), text);
    vec![
        op("eq", t(Name::of(operand)), Op::Eq, "Equals this."),
        op("ne", t(Name::of(operand)), Op::Ne, "Does not equal this, or has no value."),
        op("in", list(Name::of(operand)), Op::In, "Equals one of these."),
        op(
            "notIn",
            list(Name::of(operand)),
            Op::NotIn,
            "Equals none of these, or has no value.",
        ),
        is_null(),
    ]
}
