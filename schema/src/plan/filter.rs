//! From an input object to a [`Filter`]: by the meanings of its fields, not by their names.

use std::sync::Arc;

use klio_entities::klass::filter::Operand;
use klio_entities::klass::filter::{Base, ContactKind, Op, Quantifier, Target};
use klio_entities::klass::kind::Kind;
use klio_entities::klass::{End, Filter, Klass, Property, Value};

use super::argument::Fit;
use super::coerce::{Arguments, Input};
use super::compiler::{Compiler, Ground};
use super::{Document, cost};
use crate::error::Error;
use crate::types::model::{Argument, EnumMeaning, Field, InputMeaning, InputType, TypeRef};

/// A filter without arguments: for drafts (`updateOrders(filter:)`) and subscriptions, which also judge in memory.
pub fn constant(ground: &Ground<'_>, klass: &Arc<Klass>, input_type: &str, input: &Input) -> Result<Filter, Error> {
    let document = Arc::new(Document::empty());
    let mut compiler = Compiler::new(ground, &document);
    compiler.operands.constant = true;
    compiler.filter(klass, input_type, input)
}

/// The same, of a field's arguments `filter` and `search`; none if neither is given.
pub fn constant_of(ground: &Ground<'_>, klass: &Arc<Klass>, field: &Field, arguments: &Arguments) -> Result<Option<Filter>, Error> {
    let document = Arc::new(Document::empty());
    let mut compiler = Compiler::new(ground, &document);
    compiler.operands.constant = true;
    compiler.which(klass, field, arguments)
}

impl<'a> Compiler<'a> {
    /// A filter on objects of a klass.
    pub fn filter(&mut self, klass: &Arc<Klass>, input_type: &str, input: &Input) -> Result<Filter, Error> {
        let ty = self.input_type(input_type)?;
        let Input::Object(given) = input else {
            return Err(null_operand(input_type));
        };
        let mut all = Vec::with_capacity(given.len());
        for (name, value) in given {
            let Some(field) = ty.fields.get(name.as_str()) else {
                return Err(Error::internal(format!("no field {name} in {input_type}")));
            };
            if value.is_null() {
                return Err(null_operand(name));
            }
            all.push(self.condition(klass, field, value)?);
        }
        Ok(all_of(all))
    }

    /// What a field's arguments `filter` and `search` pick together; none if neither is given.
    pub fn which(&mut self, klass: &Arc<Klass>, field: &Field, arguments: &Arguments) -> Result<Option<Filter>, Error> {
        let mut which = match arguments.given("filter") {
            Some(input) => {
                let ty = field.arg("filter").map(|argument| argument.ty.name()).unwrap_or_default();
                Some(self.filter(klass, ty, input)?)
            }
            None => None,
        };
        if let Some(input) = arguments.given("search") {
            let words = self.search(klass, input)?;
            which = Some(match which {
                Some(filter) => Filter::And(vec![filter, words]),
                None => words,
            });
        }
        Ok(which)
    }

    fn input_type(&self, name: &str) -> Result<&'a InputType, Error> {
        self.ground
            .types
            .input(name)
            .ok_or_else(|| Error::internal(format!("no input object {name}")))
    }

    fn condition(&mut self, klass: &Arc<Klass>, field: &Argument, value: &Input) -> Result<Filter, Error> {
        let inner = field.ty.name();
        match &field.means {
            InputMeaning::And => Ok(Filter::And(self.each(klass, inner, value)?)),
            InputMeaning::Or => Ok(Filter::Or(self.each(klass, inner, value)?)),
            InputMeaning::Not => Ok(Filter::Not(Box::new(self.filter(klass, inner, value)?))),
            InputMeaning::Target(target) => self.target(klass, field, target, value),
            InputMeaning::ToOne(end, far) => self.related(end, far, Quantifier::Some, inner, value),
            InputMeaning::ToMany(end, far) => self.quantified(end, far, inner, value),
            InputMeaning::LinkFilter | InputMeaning::FarFilter => self.filter(klass, inner, value),
            other => Err(Error::internal(format!("{other:?} has no place in a filter"))),
        }
    }

    /// `search: "ada lovelace"`: each word in some searchable property, without regard to case.
    pub fn search(&mut self, klass: &Arc<Klass>, input: &Input) -> Result<Filter, Error> {
        // How many words there are is a part of the statement.
        self.fixed(input);
        let text = input.as_str().unwrap_or_default().to_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() > 16 {
            return Err(Error::bad("a search has at most 16 words."));
        }
        let properties: Vec<Arc<Property>> = klass
            .properties
            .iter()
            .filter(|p| p.searchable && p.kind.is_text() && (!p.sensitive || self.ground.sees_sensitive))
            .cloned()
            .collect();
        if properties.is_empty() {
            return Err(Error::bad(format!("no property of {} is searchable.", klass.name)));
        }
        let anywhere = |word: &str| {
            Filter::Or(
                properties
                    .iter()
                    .map(|property| Filter::Compare {
                        target: Target::Property(property.clone()),
                        op: Op::Contains { fold: true },
                        operand: Operand::Const(Value::String(word.to_owned())),
                    })
                    .collect(),
            )
        };
        Ok(Filter::And(words.into_iter().map(anywhere).collect()))
    }

    fn each(&mut self, klass: &Arc<Klass>, ty: &str, value: &Input) -> Result<Vec<Filter>, Error> {
        let Input::List(items) = value else {
            return Err(null_operand(ty));
        };
        items.iter().map(|item| self.filter(klass, ty, item)).collect()
    }

    fn related(&mut self, end: &Arc<End>, far: &Arc<Klass>, quantifier: Quantifier, ty: &str, value: &Input) -> Result<Filter, Error> {
        self.depends_on.insert(far.name.clone());
        Ok(Filter::Related {
            end: end.clone(),
            klass: far.clone(),
            quantifier,
            filter: Box::new(self.filter(far, ty, value)?),
        })
    }

    /// `{some: {…}, every: {…}, none: {…}, count: {…}}`
    fn quantified(&mut self, end: &Arc<End>, far: &Arc<Klass>, ty: &str, value: &Input) -> Result<Filter, Error> {
        let Input::Object(given) = value else {
            return Err(null_operand(ty));
        };
        let mut all = Vec::with_capacity(given.len());
        for (name, value) in given {
            let field = self.field_of(ty, name)?;
            let (means, inner) = (field.means.clone(), field.ty.name().to_owned());
            if value.is_null() {
                return Err(null_operand(name));
            }
            match means {
                InputMeaning::Quantifier(quantifier) => all.push(self.related(end, far, quantifier, &inner, value)?),
                InputMeaning::CountOf => self.count(end, far, &inner, value, &mut all)?,
                other => return Err(Error::internal(format!("{other:?} has no place in a filter on a to-many end"))),
            }
        }
        Ok(all_of(all))
    }

    /// `count: {filter: {…}, gt: 3, …}`
    fn count(&mut self, end: &Arc<End>, far: &Arc<Klass>, ty: &str, value: &Input, all: &mut Vec<Filter>) -> Result<(), Error> {
        let Input::Object(given) = value else {
            return Err(null_operand(ty));
        };
        self.depends_on.insert(far.name.clone());
        let mut which = Filter::And(Vec::new());
        let mut conditions = Vec::new();
        for (name, value) in given {
            let field = self.field_of(ty, name)?;
            let (means, inner) = (field.means.clone(), field.ty.name().to_owned());
            if value.is_null() {
                return Err(null_operand(name));
            }
            match means {
                InputMeaning::Operator(op) => conditions.push((op, self.operand(value, &Fit::As)?)),
                InputMeaning::Between => {
                    for (name, op) in [("from", Op::Gte), ("to", Op::Lte)] {
                        if let Some(bound) = value.get(name) {
                            if bound.is_null() {
                                return Err(null_operand(name));
                            }
                            conditions.push((op, self.operand(bound, &Fit::As)?));
                        }
                    }
                }
                _ => which = self.filter(far, &inner, value)?,
            }
        }
        for (op, operand) in conditions {
            all.push(Filter::Count {
                end: end.clone(),
                klass: far.clone(),
                filter: Box::new(which.clone()),
                op,
                operand,
            });
        }
        Ok(())
    }

    fn field_of(&self, ty: &str, name: &str) -> Result<&'a Argument, Error> {
        self.input_type(ty)?
            .fields
            .get(name)
            .ok_or_else(|| Error::internal(format!("no field {name} in {ty}")))
    }

    /// `status: {eq: OPEN, …}`
    fn target(&mut self, klass: &Arc<Klass>, field: &Argument, target: &Target, value: &Input) -> Result<Filter, Error> {
        if let Some(property) = target.property() {
            self.may_use(property, "filter")?;
        }
        self.operators(klass, field.ty.name(), target, value)
    }

    fn operators(&mut self, klass: &Arc<Klass>, ty: &str, target: &Target, value: &Input) -> Result<Filter, Error> {
        let Input::Object(given) = value else {
            return Err(null_operand(ty));
        };
        let mut target = target.clone();
        // A place in a JSON value is said beside the operators that apply to it.
        if let Some(path) = given.get("path")
            && matches!(self.field_of(ty, "path")?.means, InputMeaning::TargetPart(_))
            && let Some(place) = target.place(Vec::new())
        {
            let steps = self.path(path)?;
            target = target.place(steps).unwrap_or(place);
        }
        let mut all = Vec::with_capacity(given.len());
        for (name, value) in given {
            let field = self.field_of(ty, name)?;
            let (means, inner) = (field.means.clone(), field.ty.clone());
            if value.is_null() {
                return Err(null_operand(name));
            }
            match means {
                InputMeaning::Operator(op) => all.push(self.compare(klass, &target, op, &inner, value)?),
                InputMeaning::Between => {
                    let bounds = inner.name().to_owned();
                    for (name, op) in [("from", Op::Gte), ("to", Op::Lte)] {
                        if let Some(bound) = value.get(name) {
                            if bound.is_null() {
                                return Err(null_operand(name));
                            }
                            let ty = self.field_of(&bounds, name)?.ty.clone();
                            all.push(self.compare(klass, &target, op, &ty, bound)?);
                        }
                    }
                }
                InputMeaning::WithinLast => all.push(self.within(&target, value, true)?),
                InputMeaning::WithinNext => all.push(self.within(&target, value, false)?),
                InputMeaning::TargetPart(_) if matches!(target, Target::Path(..)) => {}
                InputMeaning::Quantifier(quantifier) => {
                    let Some(Kind::List(item)) = target.kind() else {
                        return Err(Error::internal(format!("{target:?} is no list")));
                    };
                    let item = Target::Part(Base::Item, Vec::new(), item.clone());
                    all.push(Filter::Items {
                        filter: Box::new(self.operators(klass, inner.name(), &item, value)?),
                        of: Box::new(target.clone()),
                        quantifier,
                    });
                }
                InputMeaning::TargetPart(part) => {
                    let target = part_of(&target, &part)?;
                    all.push(self.operators(klass, inner.name(), &target, value)?);
                }
                other => return Err(Error::internal(format!("{other:?} is not an operator"))),
            }
        }
        Ok(all_of(all))
    }

    fn path(&mut self, input: &Input) -> Result<Vec<String>, Error> {
        self.fixed(input);
        let steps: Vec<String> = match input {
            Input::Leaf(Value::String(text), _) => text.split('.').map(str::to_owned).collect(),
            other => {
                for item in match other {
                    Input::List(items) => items.as_slice(),
                    _ => &[],
                } {
                    self.fixed(item);
                }
                other.items().iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
            }
        };
        if steps.is_empty() || steps.iter().any(String::is_empty) {
            return Err(Error::bad("a path into JSON has at least one step, and no empty one."));
        }
        Ok(steps)
    }

    fn compare(&mut self, klass: &Arc<Klass>, target: &Target, op: Op, ty: &TypeRef, value: &Input) -> Result<Filter, Error> {
        let operand = match (op, value) {
            (Op::Near, Input::Object(_)) => self.near(value)?,
            _ => {
                let value = self.stored(ty, value);
                if op != Op::IsNull && value.items().iter().any(Input::is_null) {
                    return Err(null_operand("a list"));
                }
                let fit = if op == Op::IsNull { Fit::As } else { self.fit(klass, target, op) };
                self.operand(&value, &fit)?
            }
        };
        Ok(Filter::Compare {
            target: target.clone(),
            op,
            operand,
        })
    }

    /// A point and a distance: `[latitude, longitude, km]`.
    fn near(&mut self, value: &Input) -> Result<Operand, Error> {
        let Input::Object(parts) = value else {
            return Err(null_operand("near"));
        };
        let latitude = parts.get("latitude").cloned();
        let longitude = parts.get("longitude").cloned();
        let distance = parts
            .iter()
            .find(|(name, _)| !matches!(name.as_str(), "latitude" | "longitude"))
            .map(|(_, value)| value.clone());
        match (latitude, longitude, distance) {
            (Some(latitude), Some(longitude), Some(distance)) => {
                let items = [latitude, longitude, distance].into_iter().map(|part| match part {
                    // `Float` has no slot: it is a part of the variables' shape.
                    Input::Float(number) => rust_decimal::Decimal::try_from(number)
                        .map(|it| Input::Leaf(Value::Decimal(it), None))
                        .map_err(|_| Error::bad(format!("{number} is out of range."))),
                    other => Ok(other),
                });
                let list = Input::List(items.collect::<Result<_, _>>()?);
                self.operand(&list, &Fit::Decimal)
            }
            _ => Err(Error::bad("a place is said by latitude, longitude and a distance.")),
        }
    }

    /// Enum values as they are stored.
    pub fn stored(&self, ty: &TypeRef, value: &Input) -> Input {
        let Some(values) = self.ground.types.enumeration(ty.name()).map(|it| &it.values) else {
            return value.clone();
        };
        match value {
            Input::Enum(name) => match values.get(name.as_str()).map(|v| &v.means) {
                Some(EnumMeaning::Stored(stored)) => Input::Leaf(Value::String(stored.clone()), None),
                _ => value.clone(),
            },
            Input::List(items) => Input::List(items.iter().map(|item| self.stored(ty, item)).collect()),
            other => other.clone(),
        }
    }

    fn within(&mut self, target: &Target, value: &Input, back: bool) -> Result<Filter, Error> {
        let day = target.kind() == Some(&Kind::Date);
        let now = Input::Leaf(Value::String("PT0S".into()), None);
        let (from, to) = if back { (value, &now) } else { (&now, value) };
        let (from_fit, to_fit) = if back {
            (Fit::Ago(day), Fit::Ago(day))
        } else {
            (Fit::Ahead(day), Fit::Ahead(day))
        };
        let compare = |op, operand| Filter::Compare {
            target: target.clone(),
            op,
            operand,
        };
        let (from, to) = (self.operand(from, &from_fit)?, self.operand(to, &to_fit)?);
        Ok(Filter::And(vec![compare(Op::Gte, from), compare(Op::Lte, to)]))
    }

    /// How an operand is made fit for a target.
    fn fit(&self, klass: &Klass, target: &Target, op: Op) -> Fit {
        match target {
            Target::Property(_) | Target::Link(_) | Target::Part(..) => match target.kind().map_or(&Kind::Json, Kind::item) {
                Kind::Id => Fit::Id(klass.id_prefix.clone(), klass.legal.type_name.clone()),
                Kind::Phone if !matches!(op, Op::Matches { .. }) => Fit::Phone,
                Kind::Decimal | Kind::Money => Fit::Decimal,
                _ => Fit::As,
            },
            Target::Amount(_) => Fit::Decimal,
            Target::Reference(end) => match self.far_klass(end) {
                Some(far) => Fit::Id(far.id_prefix.clone(), far.legal.type_name.clone()),
                None => Fit::AnyId,
            },
            Target::Contact(ContactKind::Email) => Fit::Lower,
            Target::Contact(ContactKind::Phone) => Fit::Phone,
            Target::Contact(ContactKind::ExternalId) | Target::Currency(_) | Target::LinkCurrency(_) | Target::Path(..) => Fit::As,
        }
    }

    /// The one klass that an end reaches; none if several.
    pub fn far_klass(&self, end: &End) -> Option<Arc<Klass>> {
        self.ground.types.registry.klass(end.only()?).cloned()
    }
}

fn part_of(target: &Target, part: &str) -> Result<Target, Error> {
    target
        .part(part)
        .ok_or_else(|| Error::internal(format!("{target:?} has no part {part}")))
}

fn null_operand(name: &str) -> Error {
    Error::bad(format!(
        "\"{name}\" is null in a filter. Leave it out to not filter by it, or say `isNull: true` to find objects without a value."
    ))
}

fn all_of(mut all: Vec<Filter>) -> Filter {
    match all.len() {
        1 => all.remove(0),
        _ => Filter::And(all),
    }
}

/// What finding the objects costs: little if an index narrows them down.
pub fn cost_of(filter: Option<&Filter>) -> u64 {
    match filter {
        None => 0,
        Some(Filter::And(all)) if all.is_empty() => 0,
        Some(filter) if narrows(filter) => cost::PAGE,
        Some(_) => cost::UNINDEXED,
    }
}

/// Whether an index finds what it picks.
pub fn narrows(filter: &Filter) -> bool {
    match filter {
        Filter::And(all) => all.iter().any(narrows),
        Filter::Or(any) => !any.is_empty() && any.iter().all(narrows),
        Filter::Not(_) | Filter::Count { .. } | Filter::Items { .. } => false,
        Filter::Related { quantifier, filter, .. } => *quantifier == Quantifier::Some && narrows(filter),
        Filter::Compare { target, op, .. } => {
            matches!(
                op,
                Op::Eq | Op::In | Op::Gt | Op::Gte | Op::Lt | Op::Lte | Op::StartsWith { fold: false } | Op::Under
            ) && match target {
                Target::Property(p) => has_index(p),
                Target::Amount(p) => p.indexed,
                Target::Reference(_) | Target::Contact(_) => true,
                _ => false,
            }
        }
    }
}

/// Whether an index orders objects by a property.
pub fn has_index(property: &Property) -> bool {
    property.indexed || property.unique || property.kind == Kind::Id
}
