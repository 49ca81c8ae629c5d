//! Numbers over many objects, and groups of them.

use std::sync::Arc;

use async_graphql_parser::types::SelectionSet;
use klio_entities::klass::kind::Kind;
use klio_entities::klass::query::{Aggregate, AggregateFunction, Bucket, GroupBy, GroupKey, GroupOrder, Groups, Having};
use klio_entities::klass::{End, Klass, Property, Value};

use super::argument::Fit;
use super::coerce::{Arguments, Input};
use super::compiler::{Asked, Became, Compiler};
use super::cost::Cost;
use super::object::{Stands, money_part};
use super::order::direction;
use super::shape::{Fields, From, Items, Leaf, Shape};
use crate::error::Error;
use crate::types::model::{AggregateFunctionName, EnumMeaning, InputMeaning, Meaning, ObjectType, TypeRef};

/// How many groups there are when nothing is said.
const GROUPS_DEFAULT: u32 = 100;
/// The most groups that may be asked for.
const GROUPS_MOST: u32 = 1_000;

/// The numbers that are asked for, each once.
#[derive(Debug, Default)]
pub struct Aggregates {
    /// In the order of the answer.
    pub list: Vec<Aggregate>,
}

impl Aggregates {
    fn index(&mut self, function: AggregateFunction, property: Option<&Arc<Property>>) -> usize {
        let there = self.list.iter().position(|it| {
            it.function == function
                && match (&it.property, property) {
                    (None, None) => true,
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                    _ => false,
                }
        });
        there.unwrap_or_else(|| {
            self.list.push(Aggregate {
                function,
                property: property.cloned(),
            });
            self.list.len() - 1
        })
    }
}

impl<'a> Compiler<'a> {
    /// The fields of an aggregate; its node is the list of numbers.
    pub fn aggregate(
        &mut self,
        on: &'a ObjectType,
        sets: &[&'a SelectionSet],
        klass: &Arc<Klass>,
        wanted: &mut Aggregates,
    ) -> Result<(Fields, Cost), Error> {
        self.fields(on, sets, |this, asked| match &asked.field.means {
            Meaning::Count => {
                let index = wanted.index(AggregateFunction::Count, None);
                Ok(Became::value(
                    From::At(index),
                    Shape::Leaf(this.number(asked.field.ty.name(), None, 0)),
                ))
            }
            Meaning::Function(_) => {
                let on = this.named_object(asked.field.ty.name())?;
                let (fields, cost) = this.fields(on, &asked.beneath, |this, asked| this.function_of(asked, klass, wanted))?;
                Ok(Became {
                    from: From::Whole,
                    shape: Shape::Object(Arc::new(fields)),
                    cost,
                })
            }
            Meaning::FunctionOf(..) => this.function_of(asked, klass, wanted),
            other => Err(Error::internal(format!("{other:?} is not a field of an aggregate"))),
        })
    }

    fn function_of(&mut self, asked: &Asked<'a>, klass: &Arc<Klass>, wanted: &mut Aggregates) -> Result<Became, Error> {
        let Meaning::FunctionOf(name, property) = &asked.field.means else {
            return Err(Error::internal(format!("{:?} is not a field of an aggregate", asked.field.means)));
        };
        self.may_use(property, "aggregate")?;
        let p = self.fraction(asked.arguments.given("p"))?;
        let index = wanted.index(name.with(p), Some(property));
        // Means and percentiles come in plain units, everything else as the property itself.
        let plain = matches!(name, AggregateFunctionName::Avg | AggregateFunctionName::Percentile);
        let shape = if matches!(name, AggregateFunctionName::CountDistinct) {
            Shape::Leaf(self.number(asked.field.ty.name(), None, 0))
        } else if property.kind == Kind::Money {
            let scale = if plain { 0 } else { self.money_scale() };
            if self.ground.types.object(asked.field.ty.name()).is_some() {
                let on = self.named_object(asked.field.ty.name())?;
                let (fields, _) = self.fields(on, &asked.beneath, |_, asked| money_part(asked, scale, Stands::InRow))?;
                Shape::Object(Arc::new(fields))
            } else {
                Shape::Leaf(self.number(asked.field.ty.name(), None, scale))
            }
        } else if plain {
            Shape::Leaf(self.number(asked.field.ty.name(), None, 0))
        } else {
            let leaf = self.leaf(&property.kind, klass).unwrap_or(Leaf::Raw);
            Shape::Leaf(self.number(asked.field.ty.name(), Some(leaf), 0))
        };
        Ok(Became::value(From::At(index), shape))
    }

    /// Which percentile; the median where nothing is said (by a function that is none).
    fn fraction(&mut self, p: Option<&Input>) -> Result<f64, Error> {
        match p {
            Some(Input::Float(p)) if (0.0..=1.0).contains(p) => Ok(*p),
            Some(Input::Float(p)) => Err(Error::bad(format!("a percentile lies between 0 and 1; {p} does not."))),
            Some(given @ Input::Leaf(Value::Decimal(p), _)) => {
                self.fixed(given);
                Ok(p.to_string().parse().unwrap_or(0.5))
            }
            _ => Ok(0.5),
        }
    }

    /// How a number of a GraphQL type is written.
    fn number(&self, ty: &str, as_property: Option<Leaf>, scale: u32) -> Leaf {
        match (ty, as_property) {
            ("Int", None | Some(Leaf::Int)) => Leaf::Int,
            ("BigInt", _) => Leaf::BigInt,
            ("Float", None) => Leaf::Float,
            ("Decimal", None) => Leaf::Decimal(scale),
            (_, Some(leaf)) => leaf,
            _ => Leaf::Raw,
        }
    }

    /// `groups(by:, bucket:, zone:, having:, orderBy:, first:)`; its node is the list of groups.
    pub fn groups(&mut self, klass: &Arc<Klass>, asked: &Asked<'a>) -> Result<(Groups, Shape, Cost), Error> {
        let arguments = &asked.arguments;
        let by = self.group_keys(asked, arguments)?;
        let mut aggregates = Aggregates::default();
        let on = self.named_object(asked.field.ty.name())?;
        let (fields, cost) = self.fields(on, &asked.beneath, |this, asked| match &asked.field.means {
            Meaning::GroupKeys => {
                let on = this.named_object(asked.field.ty.name())?;
                let (fields, cost) = this.fields(on, &asked.beneath, |this, asked| this.group_key(asked, klass, &by))?;
                Ok(Became {
                    from: From::At(0),
                    shape: Shape::Object(Arc::new(fields)),
                    cost,
                })
            }
            Meaning::GroupCount => {
                let index = aggregates.index(AggregateFunction::Count, None);
                Ok(Became::value(
                    From::In(1, index),
                    Shape::Leaf(this.number(asked.field.ty.name(), None, 0)),
                ))
            }
            Meaning::GroupAggregate => {
                let on = this.named_object(asked.field.ty.name())?;
                let (fields, cost) = this.aggregate(on, &asked.beneath, klass, &mut aggregates)?;
                Ok(Became {
                    from: From::At(1),
                    shape: Shape::Object(Arc::new(fields)),
                    cost,
                })
            }
            other => Err(Error::internal(format!("{other:?} is not a field of a group"))),
        })?;
        let having = match arguments.given("having") {
            Some(input) => self.having(asked.field.arg("having").map(|a| a.ty.name()).unwrap_or_default(), input)?,
            None => Vec::new(),
        };
        let mut order = Vec::new();
        for item in arguments.given("orderBy").map(Input::items).unwrap_or_default() {
            let ty = asked.field.arg("orderBy").map(|a| a.ty.name()).unwrap_or_default();
            self.group_order(ty, &item, &by, &mut aggregates, &mut order)?;
        }
        let only_first = arguments
            .0
            .iter()
            .filter(|(name, _)| *name == "first")
            .map(|(k, v)| (k.clone(), v.clone()));
        let limit = self.window(&Arguments(only_first.collect()), 0, GROUPS_DEFAULT, GROUPS_MOST)?;
        let mut total = Cost::default();
        total.times.push((limit.1.limit, cost));
        let nullable = match asked.field.ty.nullable() {
            TypeRef::List(item) => !item.is_required(),
            _ => true,
        };
        let shape = Shape::List(Items {
            shape: Box::new(Shape::Object(Arc::new(fields))),
            nullable,
        });
        let groups = Groups {
            by,
            aggregates: aggregates.list,
            having,
            order,
            limit: limit.0,
        };
        Ok((groups, shape, total))
    }

    fn group_keys(&mut self, asked: &Asked<'a>, arguments: &Arguments) -> Result<Vec<GroupBy>, Error> {
        let ty = asked.field.arg("by").map(|a| a.ty.name().to_owned()).unwrap_or_default();
        let bucket = match arguments.given("bucket") {
            Some(input) => self.bucket(asked, input)?,
            None => None,
        };
        let zone = match arguments.given("zone") {
            Some(input) => {
                self.fixed(input);
                let zone = input.as_str().unwrap_or("UTC").to_owned();
                if !is_zone_name(&zone) {
                    return Err(Error::bad(format!(
                        "\"{zone}\" is not the name of a time zone; write such as Europe/Berlin."
                    )));
                }
                zone
            }
            None => "UTC".to_owned(),
        };
        let mut by = Vec::new();
        for item in arguments.given("by").map(Input::items).unwrap_or_default() {
            let (name, item_bucket) = match &item {
                Input::Enum(name) => (name.to_string(), None),
                // `{key: PLACED_AT, bucket: MONTH}`
                Input::Object(parts) => {
                    let key = parts.values().find_map(Input::as_str).unwrap_or_default().to_owned();
                    let bucket = match parts.get("bucket") {
                        Some(input) if !input.is_null() => self.bucket(asked, input)?,
                        _ => None,
                    };
                    (key, bucket)
                }
                _ => return Err(Error::bad("null in `by`.")),
            };
            let means = self
                .ground
                .types
                .enumeration(&ty)
                .and_then(|it| it.values.get(&name))
                .map(|value| value.means.clone())
                .ok_or_else(|| Error::internal(format!("no group key {name} in {ty}")))?;
            by.push(self.group_by(means, item_bucket.or(bucket), &zone)?);
        }
        if by.is_empty() || by.len() > 8 {
            return Err(Error::bad("group by one to eight keys."));
        }
        Ok(by)
    }

    fn bucket(&self, asked: &Asked<'_>, input: &Input) -> Result<Option<Bucket>, Error> {
        let name = input.as_str().unwrap_or_default();
        let ty = asked.field.arg("bucket").map(|a| a.ty.name().to_owned()).unwrap_or_default();
        match self
            .ground
            .types
            .enumeration(&ty)
            .and_then(|it| it.values.get(name))
            .map(|v| &v.means)
        {
            Some(EnumMeaning::Bucket(bucket)) => Ok(Some(*bucket)),
            _ => Err(Error::internal(format!("no bucket {name}"))),
        }
    }

    fn group_by(&mut self, means: EnumMeaning, bucket: Option<Bucket>, zone: &str) -> Result<GroupBy, Error> {
        let key = |property: Arc<Property>| match (&property.kind, bucket) {
            (Kind::Date | Kind::DateTime, Some(bucket)) => GroupKey::Bucket {
                property,
                bucket,
                zone: zone.to_owned(),
            },
            _ => GroupKey::Property(property),
        };
        Ok(match means {
            EnumMeaning::GroupProperty(property) => {
                self.may_use(&property, "group")?;
                GroupBy {
                    through: None,
                    by: key(property),
                }
            }
            EnumMeaning::GroupReference(end) => GroupBy {
                through: None,
                by: GroupKey::Reference(end),
            },
            EnumMeaning::GroupThrough(end, property) => {
                self.may_use(&property, "group")?;
                if let Some(far) = self.far_klass(&end) {
                    self.depends_on.insert(far.name.clone());
                }
                GroupBy {
                    through: Some(end),
                    by: key(property),
                }
            }
            other => return Err(Error::internal(format!("{other:?} is no key of a group"))),
        })
    }

    /// A field of a group's `key`; null when the groups are not by it.
    fn group_key(&mut self, asked: &Asked<'a>, klass: &Arc<Klass>, by: &[GroupBy]) -> Result<Became, Error> {
        let same_end = |a: &Arc<End>, b: &Arc<End>| Arc::ptr_eq(a, b) || a.legal == b.legal;
        let same = |a: &Arc<Property>, b: &Arc<Property>| Arc::ptr_eq(a, b) || a.column == b.column;
        let found = by.iter().position(|it| match (&asked.field.means, &it.through, &it.by) {
            (Meaning::GroupKeyProperty(p), None, GroupKey::Property(q) | GroupKey::Bucket { property: q, .. }) => same(p, q),
            (Meaning::GroupKeyReference(e), None, GroupKey::Reference(f)) => same_end(e, f),
            (Meaning::GroupKeyThrough(e, p), Some(f), GroupKey::Property(q) | GroupKey::Bucket { property: q, .. }) => {
                same_end(e, f) && same(p, q)
            }
            _ => false,
        });
        let Some(index) = found else {
            return Ok(Became::known("null"));
        };
        let shape = match (&asked.field.means, &by[index].by) {
            (Meaning::GroupKeyReference(end), _) => {
                if let Some(far) = self.far_klass(end) {
                    self.depends_on.insert(far.name.clone());
                }
                Shape::Load(self.site(asked.field.ty.name(), false, &asked.beneath))
            }
            (_, GroupKey::Bucket { .. }) => Shape::Leaf(Leaf::Raw),
            (_, GroupKey::Property(property)) if property.kind == Kind::Money => Shape::Leaf(Leaf::Raw),
            (_, GroupKey::Property(property)) => {
                let owner = match &by[index].through {
                    Some(end) => self.far_klass(end).unwrap_or_else(|| klass.clone()),
                    None => klass.clone(),
                };
                self.value(&property.kind, &asked.field.ty, &asked.beneath, &owner, Stands::InRow)?
            }
            (other, _) => return Err(Error::internal(format!("{other:?} is not a key of a group"))),
        };
        Ok(Became::value(From::At(index), shape))
    }

    fn having(&mut self, ty: &str, input: &Input) -> Result<Vec<Having>, Error> {
        let mut out = Vec::new();
        self.having_in(ty, input, None, &mut out)?;
        Ok(out)
    }

    fn having_in(&mut self, ty: &str, input: &Input, function: Option<AggregateFunctionName>, out: &mut Vec<Having>) -> Result<(), Error> {
        let Input::Object(given) = input else {
            return Err(Error::bad("null in `having`."));
        };
        for (name, value) in given {
            let field = self.input_field(ty, name)?;
            if value.is_null() {
                return Err(Error::bad(format!("\"{name}\" is null in `having`.")));
            }
            match (&field.means, function) {
                (InputMeaning::HavingCount, _) => {
                    let aggregate = Aggregate {
                        function: AggregateFunction::Count,
                        property: None,
                    };
                    self.having_operators(field.ty.name(), value, &aggregate, out)?;
                }
                (InputMeaning::HavingFunction(function), _) => self.having_in(field.ty.name(), value, Some(*function), out)?,
                (InputMeaning::HavingProperty(property), Some(function)) => {
                    self.may_use(property, "filter")?;
                    let aggregate = Aggregate {
                        function: function.with(0.5),
                        property: Some(property.clone()),
                    };
                    self.having_operators(field.ty.name(), value, &aggregate, out)?;
                }
                (InputMeaning::HavingPercentile(property), _) => {
                    self.may_use(property, "filter")?;
                    for condition in value.items() {
                        let aggregate = Aggregate {
                            function: AggregateFunction::Percentile(self.fraction(condition.get("p"))?),
                            property: Some(property.clone()),
                        };
                        self.having_operators(field.ty.name(), &condition, &aggregate, out)?;
                    }
                }
                (other, _) => return Err(Error::internal(format!("{other:?} has no place in a having"))),
            }
        }
        Ok(())
    }

    fn having_operators(&mut self, ty: &str, input: &Input, aggregate: &Aggregate, out: &mut Vec<Having>) -> Result<(), Error> {
        use klio_entities::klass::filter::Op;
        let Input::Object(given) = input else {
            return Err(Error::bad("null in `having`."));
        };
        for (name, value) in given {
            let field = self.input_field(ty, name)?;
            if value.is_null() {
                return Err(Error::bad(format!("\"{name}\" is null in `having`.")));
            }
            let mut add = |this: &mut Self, op: Op, value: &Input| -> Result<(), Error> {
                out.push(Having {
                    aggregate: aggregate.clone(),
                    op,
                    operand: this.operand(value, &Fit::As)?,
                });
                Ok(())
            };
            match &field.means {
                InputMeaning::Operator(op) => add(self, *op, value)?,
                // `p`: which percentile is compared.
                InputMeaning::Plain => {}
                InputMeaning::Between => {
                    for (bound, op) in [("from", Op::Gte), ("to", Op::Lte)] {
                        if let Some(value) = value.get(bound).filter(|value| !value.is_null()) {
                            add(self, op, value)?;
                        }
                    }
                }
                other => return Err(Error::internal(format!("{other:?} has no place in a having"))),
            }
        }
        Ok(())
    }

    fn group_order(
        &mut self,
        ty: &str,
        item: &Input,
        by: &[GroupBy],
        aggregates: &mut Aggregates,
        order: &mut Vec<(GroupOrder, bool)>,
    ) -> Result<(), Error> {
        let Input::Object(given) = item else {
            return Err(Error::bad("null in `orderBy`."));
        };
        for (name, value) in given {
            let field = self.input_field(ty, name)?;
            match &field.means {
                InputMeaning::GroupOrderCount => {
                    let index = aggregates.index(AggregateFunction::Count, None);
                    order.push((GroupOrder::Aggregate(index), descending(value)));
                }
                InputMeaning::GroupOrderKey => order.push(self.group_order_key(field.ty.name(), value, by)?),
                InputMeaning::GroupOrderFunction(function) => {
                    let Input::Object(inner) = value else {
                        return Err(Error::bad("null in `orderBy`."));
                    };
                    for (name, value) in inner {
                        let inner_field = self.input_field(field.ty.name(), name)?;
                        let (property, function, way) = match &inner_field.means {
                            InputMeaning::GroupOrderProperty(property) => (property, function.with(0.5), value),
                            InputMeaning::GroupOrderPercentile(property) => {
                                let p = self.fraction(value.get("p"))?;
                                let way = value.get("direction").unwrap_or(&Input::Null);
                                (property, AggregateFunction::Percentile(p), way)
                            }
                            other => return Err(Error::internal(format!("{other:?} has no place in an order of groups"))),
                        };
                        self.may_use(property, "order")?;
                        let index = aggregates.index(function, Some(property));
                        order.push((GroupOrder::Aggregate(index), descending(way)));
                    }
                }
                other => return Err(Error::internal(format!("{other:?} has no place in an order of groups"))),
            }
        }
        Ok(())
    }

    /// `key: {by: STATUS, direction: DESC}`: which of the groups' own keys.
    fn group_order_key(&mut self, ty: &str, value: &Input, by: &[GroupBy]) -> Result<(GroupOrder, bool), Error> {
        let name = value.get("by").and_then(Input::as_str).unwrap_or_default();
        let key_type = self.input_field(ty, "by")?.ty.name().to_owned();
        let means = self
            .ground
            .types
            .enumeration(&key_type)
            .and_then(|it| it.values.get(name))
            .map(|v| v.means.clone());
        let found = by.iter().position(|it| match (&means, &it.through, &it.by) {
            (Some(EnumMeaning::GroupProperty(p)), None, GroupKey::Property(q) | GroupKey::Bucket { property: q, .. }) => {
                p.column == q.column
            }
            (Some(EnumMeaning::GroupReference(e)), None, GroupKey::Reference(f)) => e.legal == f.legal,
            (Some(EnumMeaning::GroupThrough(e, p)), Some(f), GroupKey::Property(q) | GroupKey::Bucket { property: q, .. }) => {
                e.legal == f.legal && p.column == q.column
            }
            _ => false,
        });
        let descends = value.get("direction").is_some_and(descending);
        found
            .map(|index| (GroupOrder::Key(index), descends))
            .ok_or_else(|| Error::bad(format!("the groups are not by {name}, so they cannot be ordered by it.")))
    }

    fn input_field(&self, ty: &str, name: &str) -> Result<&'a crate::types::model::Argument, Error> {
        self.ground
            .types
            .input(ty)
            .and_then(|it| it.fields.get(name))
            .ok_or_else(|| Error::internal(format!("no field {name} in {ty}")))
    }
}

fn descending(value: &Input) -> bool {
    value.as_str().is_some_and(|name| direction(name).0)
}

/// Looks like a name of the IANA database (the store knows which exist).
fn is_zone_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+'))
}
