//! Numbers over many objects of a klass, groups of them, conditions on groups and their order.

use std::sync::Arc;

use async_graphql_value::ConstValue;
use klio_entities::klass::property::Alias;
use klio_entities::klass::relationship::Cardinality;
use klio_entities::klass::{End, Kind, Klass, Property};

use super::model::{
    AggregateFunctionName as F, Argument, ByName, EnumMeaning, EnumType, EnumValue, Field, InputMeaning, InputType, Meaning, Name, TypeRef,
};
use super::{Builder, input, kinds, list, list_req, names, object, operators, req, t};

/// What `p` is.
const WHICH: &str = "Which: from 0 (smallest) to 1 (largest).";

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
        let of = Of {
            numbers,
            ordered,
            countable,
        };
        self.having(klass, &of);
        self.group_order(klass, &of);
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
            let make = |property: &Arc<Property>, name: &str, deprecated: &Option<String>| {
                let mut field = Field::new(
                    Name::of(name),
                    result(function, &property.kind),
                    Meaning::FunctionOf(function, Arc::clone(property)),
                    super::describe(property, "Over this property."),
                );
                if function == F::Percentile {
                    field.args.push(Argument::plain("p", req("Float"), WHICH));
                }
                field.deprecated = deprecated.clone().map(Into::into);
                field
            };
            for (name, field) in by_every_name(properties, make) {
                parts.fields.entry(name).or_insert(field);
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
        let old = |p: &&Arc<Property>| is_groupable(&p.kind) && own(p);
        for end in klass.ends.iter().filter(|e| e.cardinality == Cardinality::One) {
            let far = self.far(end);
            if let ([far], false) = (far.as_slice(), end.is_polymorphic()) {
                self.reference_keys(end, far, None, &mut put);
            }
        }
        // Old names last: `put` leaves out those that a living name has taken.
        for p in klass.properties.iter().filter(old) {
            for alias in &p.aliases {
                put(
                    alias.legal.clone(),
                    key_type(&p.kind, &klass.legal.type_name, &p.legal),
                    key_text(p),
                    EnumMeaning::GroupProperty(Arc::clone(p)),
                    Meaning::GroupKeyProperty(Arc::clone(p)),
                    Some(alias.reason.clone().into()),
                );
            }
        }
        for end in klass.ends.iter().filter(|e| e.cardinality == Cardinality::One) {
            if let ([far], false) = (self.far(end).as_slice(), end.is_polymorphic()) {
                for alias in &end.aliases {
                    self.reference_keys(end, far, Some(alias), &mut put);
                }
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

    /// The keys that come through a to-one end: its object, and that object's properties. `old`: by a name that the end used to have.
    fn reference_keys(
        &self,
        end: &Arc<End>,
        far: &Arc<Klass>,
        old: Option<&Alias>,
        put: &mut impl FnMut(String, TypeRef, super::Text, EnumMeaning, Meaning, Option<super::Text>),
    ) {
        let (name, deprecated) = match old {
            Some(alias) => (&alias.legal, Some(super::Text::from(alias.reason.clone()))),
            None => (&end.legal, end.deprecated.clone().map(Into::into)),
        };
        put(
            name.clone(),
            t(&far.legal.type_name),
            "The object at this end.".into(),
            EnumMeaning::GroupReference(Arc::clone(end)),
            Meaning::GroupKeyReference(Arc::clone(end)),
            deprecated.clone(),
        );
        for p in far.properties.iter().filter(|p| is_groupable(&p.kind) && !p.system && !p.unique) {
            let living = (&p.legal, p.deprecated.clone());
            let old = p.aliases.iter().map(|alias| (&alias.legal, Some(alias.reason.clone())));
            for (property, reason) in std::iter::once(living).chain(old) {
                put(
                    names::group_through(name, property),
                    key_type(&p.kind, &far.legal.type_name, &p.legal),
                    key_text(p),
                    EnumMeaning::GroupThrough(Arc::clone(end), Arc::clone(p)),
                    Meaning::GroupKeyThrough(Arc::clone(end), Arc::clone(p)),
                    reason.map(Into::into).or_else(|| deprecated.clone()),
                );
            }
        }
    }

    fn having(&mut self, klass: &Arc<Klass>, of: &Of) {
        let mut out = input(
            names::of_klass(klass, "Having"),
            Some(klass),
            "Conditions on a group; all that are given must hold.",
        );
        let count = Argument::new("count", t("IntComparison"), InputMeaning::HavingCount, "On how many they are.");
        out.fields.insert("count".into(), count);
        let number = |p: &Property| match p.kind {
            Kind::Integer { .. } | Kind::Decimal | Kind::Money => Some("DecimalComparison"),
            Kind::Date => Some("DateComparison"),
            Kind::DateTime => Some("DateTimeComparison"),
            _ => None,
        };
        for function in of.functions() {
            let make = |property: &Arc<Property>, name: &str, deprecated: &Option<String>| {
                let (ty, means) = match function.name {
                    F::CountDistinct => (t("IntComparison"), InputMeaning::HavingProperty(Arc::clone(property))),
                    F::Percentile => (list("PercentileComparison"), InputMeaning::HavingPercentile(Arc::clone(property))),
                    _ => (
                        t(number(property).unwrap_or_default()),
                        InputMeaning::HavingProperty(Arc::clone(property)),
                    ),
                };
                Argument {
                    deprecated: deprecated.clone().map(Into::into),
                    ..Argument::new(Name::of(name), ty, means, "On this number over the property.")
                }
            };
            let compared: Vec<Arc<Property>> = match function.name {
                F::CountDistinct => function.properties.to_vec(),
                _ => function.properties.iter().filter(|p| number(p).is_some()).cloned().collect(),
            };
            if compared.is_empty() {
                continue;
            }
            let name = names::of_klass(klass, &["Having", function.suffix].concat());
            if !self.types.contains_key(&name) {
                self.add_input(InputType {
                    fields: by_every_name(&compared, make).collect(),
                    ..input(
                        &name,
                        Some(klass),
                        "Conditions, property by property; all that are given must hold.",
                    )
                });
            }
            out.fields.insert(
                function.field.into(),
                Argument::new(
                    function.field,
                    t(name),
                    InputMeaning::HavingFunction(function.name),
                    "On this function.",
                ),
            );
        }
        self.add_input(out);
    }

    fn group_order(&mut self, klass: &Arc<Klass>, of: &Of) {
        let key_name = names::of_klass(klass, "GroupKeyOrder");
        let mut key = input(&key_name, Some(klass), "By a key.");
        operators::insert(
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
        operators::insert(
            &mut out,
            vec![
                Argument::new("count", t("SortDirection"), InputMeaning::GroupOrderCount, "By how many they are."),
                Argument::new("key", t(key_name), InputMeaning::GroupOrderKey, "By a key."),
            ],
        );
        for function in of.functions() {
            if function.properties.is_empty() {
                continue;
            }
            let make = |property: &Arc<Property>, name: &str, deprecated: &Option<String>| {
                let (ty, means, text) = if function.name == F::Percentile {
                    (
                        "PercentileOrder",
                        InputMeaning::GroupOrderPercentile(Arc::clone(property)),
                        "By this percentile.",
                    )
                } else {
                    (
                        "SortDirection",
                        InputMeaning::GroupOrderProperty(Arc::clone(property)),
                        "In this direction.",
                    )
                };
                Argument {
                    deprecated: deprecated.clone().map(Into::into),
                    ..Argument::new(Name::of(name), t(ty), means, text)
                }
            };
            let name = names::of_klass(klass, &[function.suffix, "Order"].concat());
            if !self.types.contains_key(&name) {
                let mut it = input(&name, Some(klass), "By this number over a property: exactly one.");
                it.one_of = true;
                it.fields = by_every_name(function.properties, make).collect();
                self.add_input(it);
            }
            out.fields.insert(
                function.field.into(),
                Argument::new(
                    function.field,
                    t(name),
                    InputMeaning::GroupOrderFunction(function.name),
                    "By this function.",
                ),
            );
        }
        self.add_input(out);
    }
}

/// The properties of a klass over which there are numbers.
struct Of {
    /// Those that can be summed.
    numbers: Vec<Arc<Property>>,
    /// Those with a smallest and a largest value.
    ordered: Vec<Arc<Property>>,
    /// Those whose different values can be counted.
    countable: Vec<Arc<Property>>,
}

/// A function by whose results groups are chosen and ordered.
struct Function<'o> {
    /// Its field.
    field: &'static str,
    name: F,
    /// In the names of the inputs that have a field per property: functions over the same properties share them.
    suffix: &'static str,
    properties: &'o [Arc<Property>],
}

impl Of {
    fn functions(&self) -> [Function<'_>; 6] {
        let of = |field, name, suffix, properties| Function {
            field,
            name,
            suffix,
            properties,
        };
        [
            of("countDistinct", F::CountDistinct, "Distinct", self.countable.as_slice()),
            of("sum", F::Sum, "Numbers", self.numbers.as_slice()),
            of("avg", F::Avg, "Numbers", self.numbers.as_slice()),
            of("min", F::Min, "Values", self.ordered.as_slice()),
            of("max", F::Max, "Values", self.ordered.as_slice()),
            of("percentile", F::Percentile, "Percentiles", self.numbers.as_slice()),
        ]
    }
}

/// Something for each property by its name, then by each name that it used to have and that no other has now.
fn by_every_name<'p, T>(
    properties: &'p [Arc<Property>],
    make: impl Fn(&Arc<Property>, &str, &Option<String>) -> T + 'p,
) -> impl Iterator<Item = (Name, T)> {
    let living: Vec<(Name, &Arc<Property>, Option<String>)> =
        properties.iter().map(|p| (Name::from(&p.legal), p, p.deprecated.clone())).collect();
    let mut names = living;
    for property in properties {
        for alias in &property.aliases {
            if !names.iter().any(|(name, ..)| *name == alias.legal) {
                names.push((Name::from(&alias.legal), property, Some(alias.reason.clone())));
            }
        }
    }
    names.into_iter().map(move |(name, property, deprecated)| {
        let made = make(property, &name, &deprecated);
        (name, made)
    })
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
