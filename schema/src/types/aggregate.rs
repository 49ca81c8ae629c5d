//! Numbers over many objects of a klass, groups of them, conditions on groups and their order.

use std::sync::Arc;

use async_graphql_value::ConstValue;
use klio_entities::klass::relationship::Cardinality;
use klio_entities::klass::{End, Kind, Klass, Property};

use super::model::{
    AggregateFunctionName as F, Argument, ByName, EnumMeaning, EnumType, EnumValue, Field, InputMeaning, InputType, Meaning, Name, TypeRef,
};
use super::{Builder, base, input, kinds, list, list_req, names, object, req, t};

/// A function: its field, its type's suffix, itself, of which properties, what it is.
type Row<'a> = (&'static str, &'static str, F, &'a [Arc<Property>], &'static str);

impl Builder<'_> {
    /// Every type on this page.
    pub(super) fn aggregates(&mut self, klass: &Arc<Klass>) {
        let own = |p: &&Arc<Property>| !p.system || matches!(p.legal.as_str(), "createdAt" | "updatedAt");
        let numbers: Vec<_> = klass
            .properties
            .iter()
            .filter(|p| p.kind.is_numeric())
            .filter(own)
            .cloned()
            .collect();
        let ordered: Vec<_> = klass
            .properties
            .iter()
            .filter(|p| has_extremes(&p.kind))
            .filter(own)
            .cloned()
            .collect();
        let countable: Vec<_> = klass
            .properties
            .iter()
            .filter(|p| is_countable(&p.kind))
            .filter(|p| own(p) || p.legal == "externalId")
            .cloned()
            .collect();
        self.aggregate_object(klass, &numbers, &ordered, &countable);
        self.groups(klass);
        self.having(klass, &numbers, &ordered);
        self.group_order(klass, &numbers, &ordered);
    }

    fn aggregate_object(&mut self, klass: &Arc<Klass>, numbers: &[Arc<Property>], ordered: &[Arc<Property>], countable: &[Arc<Property>]) {
        let mut out = object(names::of_klass(klass, "Aggregate"), format!("Numbers over {}.", klass.plural));
        out.fields.insert(
            "count".into(),
            Field::new("count", req("Int"), Meaning::Count, "How many there are."),
        );
        let rows: [Row<'_>; 6] = [
            (
                "countDistinct",
                "CountDistinct",
                F::CountDistinct,
                countable,
                "How many different values there are.",
            ),
            (
                "sum",
                "Sum",
                F::Sum,
                numbers,
                "Sums. A sum of money is null where several currencies meet.",
            ),
            ("avg", "Avg", F::Avg, numbers, "Averages of those that have a value."),
            ("min", "Min", F::Min, ordered, "Smallest values."),
            ("max", "Max", F::Max, ordered, "Largest values."),
            (
                "percentile",
                "Percentile",
                F::Percentile,
                numbers,
                "Percentiles, interpolated: `total(p: 0.5)` is the median.",
            ),
        ];
        for (name, suffix, function, properties, text) in rows {
            if properties.is_empty() {
                continue;
            }
            let ty = names::of_klass(klass, suffix);
            let mut parts = object(&ty, format!("Of {}, property by property. {text}", klass.plural));
            parts.fields.reserve(properties.len());
            for property in properties {
                let mut field = Field::new(
                    &property.legal,
                    result(function, &property.kind),
                    Meaning::FunctionOf(function, Arc::clone(property)),
                    super::describe(property, "Over this property."),
                );
                if function == F::Percentile {
                    field
                        .args
                        .push(Argument::plain("p", req("Float"), "Which: from 0 (smallest) to 1 (largest)."));
                }
                field.deprecated = property.deprecated.clone().map(Into::into);
                parts.fields.insert(field.name.clone(), field);
            }
            self.add_object(parts);
            out.fields
                .insert(name.into(), Field::new(name, req(ty), Meaning::Function(function), text));
        }
        self.add_object(out);
    }

    fn groups(&mut self, klass: &Arc<Klass>) {
        let aggregate = names::of_klass(klass, "Aggregate");
        let keys_name = names::of_klass(klass, "GroupKeys");
        let mut keys = object(
            &keys_name,
            format!(
                "What a group of {} shares: fields that were not asked for in `by` are null.",
                klass.plural
            ),
        );
        keys.fields.reserve(klass.properties.len());
        let mut values = ByName::with_capacity_and_hasher(klass.properties.len(), Default::default());
        let mut put = |name: String, ty: TypeRef, text: super::Text, key: EnumMeaning, field: Meaning, deprecated: Option<super::Text>| {
            if keys.fields.contains_key(&name) {
                return;
            }
            let name = Name::from(name);
            values.insert(
                name.clone(),
                EnumValue {
                    description: Some(text.clone()),
                    deprecated: deprecated.clone(),
                    means: key,
                },
            );
            let mut field = Field::new(&name, ty, field, text);
            field.deprecated = deprecated;
            keys.fields.insert(name, field);
        };
        let own = |p: &&Arc<Property>| !p.system || matches!(p.legal.as_str(), "createdAt" | "updatedAt");
        for p in klass.properties.iter().filter(|p| is_groupable(&p.kind)).filter(own) {
            put(
                p.legal.clone(),
                key_type(&p.kind, &klass.legal.type_name, &p.legal),
                key_text(p),
                EnumMeaning::GroupProperty(Arc::clone(p)),
                Meaning::GroupKeyProperty(Arc::clone(p)),
                p.deprecated.clone().map(Into::into),
            );
        }
        for end in klass.ends.iter().filter(|e| e.cardinality == Cardinality::One) {
            let far = self.far(end);
            if let ([far], false) = (far.as_slice(), end.is_polymorphic()) {
                self.reference_keys(end, far, &mut put);
            }
        }
        self.add_object(keys);
        self.add_enum(EnumType {
            name: names::of_klass(klass, "GroupKey").into(),
            description: Some(
                format!(
                    "By what {} can be gathered; `x_y` is property `y` of the object at `x`.",
                    klass.plural
                )
                .into(),
            ),
            values,
        });
        let mut group = object(names::of_klass(klass, "Group"), format!("A group of {}.", klass.plural));
        for field in [
            Field::new("key", req(keys_name), Meaning::GroupKeys, "What they share."),
            Field::new("count", req("Int"), Meaning::GroupCount, "How many they are."),
            Field::new("aggregate", req(aggregate), Meaning::GroupAggregate, "Numbers over them."),
        ] {
            group.fields.insert(field.name.clone(), field);
        }
        self.add_object(group);
    }

    /// The keys that come through a to-one end: its object, and that object's properties.
    fn reference_keys(
        &self,
        end: &Arc<End>,
        far: &Arc<Klass>,
        put: &mut impl FnMut(String, TypeRef, super::Text, EnumMeaning, Meaning, Option<super::Text>),
    ) {
        let deprecated: Option<super::Text> = end.deprecated.clone().map(Into::into);
        put(
            end.legal.clone(),
            t(&far.legal.type_name),
            "The object at this end.".into(),
            EnumMeaning::GroupReference(Arc::clone(end)),
            Meaning::GroupKeyReference(Arc::clone(end)),
            deprecated.clone(),
        );
        for p in far.properties.iter().filter(|p| is_groupable(&p.kind) && !p.system && !p.unique) {
            put(
                names::group_through(end, p),
                key_type(&p.kind, &far.legal.type_name, &p.legal),
                key_text(p),
                EnumMeaning::GroupThrough(Arc::clone(end), Arc::clone(p)),
                Meaning::GroupKeyThrough(Arc::clone(end), Arc::clone(p)),
                p.deprecated.clone().map(Into::into).or_else(|| deprecated.clone()),
            );
        }
    }

    fn having(&mut self, klass: &Arc<Klass>, numbers: &[Arc<Property>], ordered: &[Arc<Property>]) {
        let mut out = input(
            names::of_klass(klass, "Having"),
            Some(klass),
            "Conditions on a group; all that are given must hold.",
        );
        let count = Argument::new("count", t("IntComparison"), InputMeaning::HavingCount, "On how many they are.");
        out.fields.insert("count".into(), count);
        let mut parts = |suffix: &str, properties: &[Arc<Property>]| -> Option<String> {
            let fields: ByName<Argument> = properties
                .iter()
                .filter_map(|p| {
                    let ty = match p.kind {
                        Kind::Integer { .. } | Kind::Decimal | Kind::Money => "DecimalComparison",
                        Kind::Date => "DateComparison",
                        Kind::DateTime => "DateTimeComparison",
                        _ => return None,
                    };
                    let field = Argument::new(
                        &p.legal,
                        t(ty),
                        InputMeaning::HavingProperty(Arc::clone(p)),
                        "On this number over the property.",
                    );
                    Some((field.name.clone(), field))
                })
                .collect();
            if fields.is_empty() {
                return None;
            }
            let name = names::of_klass(klass, suffix);
            self.add_input(InputType {
                fields,
                ..input(
                    &name,
                    Some(klass),
                    "Conditions, property by property; all that are given must hold.",
                )
            });
            Some(name)
        };
        let numbers = parts("HavingNumbers", numbers);
        let values = parts("HavingValues", ordered);
        for (name, function, ty) in functions(&numbers, &values) {
            out.fields.insert(
                name.into(),
                Argument::new(name, t(ty), InputMeaning::HavingFunction(function), "On this function."),
            );
        }
        self.add_input(out);
    }

    fn group_order(&mut self, klass: &Arc<Klass>, numbers: &[Arc<Property>], ordered: &[Arc<Property>]) {
        let key_name = names::of_klass(klass, "GroupKeyOrder");
        let mut key = input(&key_name, Some(klass), "By a key.");
        base::insert(
            &mut key,
            vec![
                Argument::plain("by", req(names::of_klass(klass, "GroupKey")), "Which: one of those in `by`."),
                Argument::plain("direction", req("SortDirection"), "In this direction.")
                    .or(ConstValue::Enum(async_graphql_value::Name::new("ASC"))),
            ],
        );
        self.add_input(key);
        let mut out = input(
            names::of_klass(klass, "GroupOrder"),
            Some(klass),
            "By what groups are ordered: exactly one.",
        );
        out.one_of = true;
        base::insert(
            &mut out,
            vec![
                Argument::new("count", t("SortDirection"), InputMeaning::GroupOrderCount, "By how many they are."),
                Argument::new("key", t(key_name), InputMeaning::GroupOrderKey, "By a key."),
            ],
        );
        let mut parts = |suffix: &str, properties: &[Arc<Property>]| -> Option<String> {
            if properties.is_empty() {
                return None;
            }
            let name = names::of_klass(klass, suffix);
            let mut it = input(&name, Some(klass), "By this number over a property: exactly one.");
            it.one_of = true;
            for p in properties {
                let field = Argument::new(
                    &p.legal,
                    t("SortDirection"),
                    InputMeaning::GroupOrderProperty(Arc::clone(p)),
                    "In this direction.",
                );
                it.fields.insert(field.name.clone(), field);
            }
            self.add_input(it);
            Some(name)
        };
        let numbers = parts("NumbersOrder", numbers);
        let values = parts("ValuesOrder", ordered);
        for (name, function, ty) in functions(&numbers, &values) {
            out.fields.insert(
                name.into(),
                Argument::new(name, t(ty), InputMeaning::GroupOrderFunction(function), "By this function."),
            );
        }
        self.add_input(out);
    }
}

/// The functions whose results can be compared and ordered by, with the input that has a field per property.
fn functions(numbers: &Option<String>, values: &Option<String>) -> Vec<(&'static str, F, String)> {
    let number = [("sum", F::Sum), ("avg", F::Avg)]
        .into_iter()
        .filter_map(|(n, f)| numbers.clone().map(|ty| (n, f, ty)));
    let value = [("min", F::Min), ("max", F::Max)]
        .into_iter()
        .filter_map(|(n, f)| values.clone().map(|ty| (n, f, ty)));
    number.chain(value).collect()
}

/// What a function of a property answers; always nullable, since there may be no value.
fn result(function: F, kind: &Kind) -> TypeRef {
    match (function, kind) {
        (F::Count | F::CountDistinct, _) => req("Int"),
        (_, Kind::Money) => t("Money"),
        (F::Sum, Kind::Integer { .. }) => t("BigInt"),
        (F::Avg | F::Percentile, Kind::Integer { .. }) => t("Float"),
        (_, kind) => t(kinds::scalar(kind).unwrap_or("String")),
    }
}

fn has_extremes(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Integer { .. } | Kind::Decimal | Kind::Money | Kind::Date | Kind::DateTime | Kind::String
    )
}

fn is_countable(kind: &Kind) -> bool {
    kind.is_ordered() && !matches!(kind, Kind::Text | Kind::Money)
}

fn is_groupable(kind: &Kind) -> bool {
    kind.is_ordered() && !matches!(kind, Kind::Text | Kind::Id | Kind::Decimal)
}

/// A group's key: dates and times may be buckets, of money only the currency is shared.
fn key_type(kind: &Kind, owner: &str, property: &str) -> TypeRef {
    match kind {
        Kind::Date | Kind::DateTime | Kind::Money => t("String"),
        other => kinds::output(other, owner, property),
    }
}

fn key_text(property: &Property) -> super::Text {
    match property.kind {
        Kind::Date | Kind::DateTime => {
            "With `bucket`: the local date (`2026-11-01`) or hour (`2026-11-01T13:00`) at which the bucket begins.".into()
        }
        Kind::Money => "Its currency.".into(),
        _ => super::describe(property, "A property."),
    }
}

/// `by bucket zone having orderBy first`.
pub(super) fn group_args(klass: &Klass) -> Vec<Argument> {
    vec![
        Argument::plain("by", list_req(names::of_klass(klass, "GroupKey")), "What they must share."),
        Argument::plain(
            "bucket",
            t("DateBucket"),
            "Gathers the dates and times among the keys into buckets of this width.",
        ),
        Argument::plain("zone", t("TimeZone"), "The time zone whose days and hours the buckets are.").or(ConstValue::String("UTC".into())),
        Argument::plain("having", t(names::of_klass(klass, "Having")), "Only groups that match."),
        Argument::plain(
            "orderBy",
            list(names::of_klass(klass, "GroupOrder")),
            "In this order; by the keys when none is given.",
        ),
        Argument::plain("first", req("Int"), "How many groups: at most 1000.").or(ConstValue::Number(100.into())),
    ]
}
