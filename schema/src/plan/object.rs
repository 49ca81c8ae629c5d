//! An object of a klass: its properties, what it is tied to, its title.

use std::sync::Arc;

use async_graphql_parser::types::SelectionSet;
use klio_entities::klass::kind::{Kind, ObjectKind};
use klio_entities::klass::query::Output;
use klio_entities::klass::{End, Klass, Property};

use super::compiler::{Asked, Became, Compiler, Outputs};
use super::cost::{self, Cost};
use super::shape::{ActorPart, Fields, From, Items, Leaf, Shape, TitlePiece};
use crate::error::Error;
use crate::types::model::{Meaning, ObjectType, TypeRef};

/// How many rows a page is taken to have where costs are compared.
const USUAL: u64 = 20;

/// In which JSON a value stands: money and instants look different within a list or an object kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// A value of a row.
    InRow,
    /// An item of a stored list or a part of a stored object.
    InJson,
}

impl<'a> Compiler<'a> {
    /// The fields of an object of a klass. What must be read for them is added to `outputs`.
    pub fn object(&mut self, on: &'a ObjectType, sets: &[&'a SelectionSet], outputs: &mut Outputs) -> Result<(Fields, Cost), Error> {
        if !self.depends_on.contains(&outputs.klass.name) {
            self.depends_on.insert(outputs.klass.name.clone());
        }
        self.fields(on, sets, |this, asked| this.object_field(asked, outputs))
    }

    fn object_field(&mut self, asked: &Asked<'a>, outputs: &mut Outputs) -> Result<Became, Error> {
        match &asked.field.means {
            Meaning::Property(property) => {
                if property.sensitive && !self.ground.sees_sensitive {
                    return Ok(Became::known("null"));
                }
                let klass = outputs.klass.clone();
                let shape = self.value(&property.kind, &asked.field.ty, &asked.beneath, &klass, Stands::InRow)?;
                Ok(Became::value(From::At(outputs.value(property)), shape))
            }
            Meaning::One(end) => self.one(end, asked, outputs),
            Meaning::Many(end, klass) => {
                let (page, shape, cost) = self.page(klass, Some(end), asked)?;
                let index = outputs.push(Output::Many {
                    end: end.clone(),
                    page: Box::new(page),
                });
                Ok(Became {
                    from: From::At(index),
                    shape,
                    cost,
                })
            }
            Meaning::Title => Ok(Became::value(From::Whole, Shape::Leaf(self.title(outputs)))),
            Meaning::KlassOf => {
                let klass = outputs.klass.clone();
                self.klass_of(&klass, asked)
            }
            Meaning::Timeline => self.timeline(asked, outputs),
            other => Err(Error::internal(format!("{other:?} is not a field of an object of a klass"))),
        }
    }

    /// The object at a to-one end.
    fn one(&mut self, end: &Arc<End>, asked: &Asked<'a>, outputs: &mut Outputs) -> Result<Became, Error> {
        let registry = &self.ground.types.registry;
        let mut reached = end
            .to
            .iter()
            .filter_map(|name| registry.klass(name))
            .filter(|klass| klass.enabled)
            .cloned();
        let mut cost = Cost::of(cost::ROW);
        if !end.is_polymorphic() {
            let klass = reached
                .next()
                .ok_or_else(|| Error::internal(format!("end {} reaches no klass", end.legal)))?;
            let (fields, its_cost, its_outputs) = self.far(&klass, &asked.beneath)?;
            cost.add(its_cost);
            let index = outputs.push(Output::One {
                end: end.clone(),
                klass,
                outputs: its_outputs,
            });
            return Ok(Became {
                from: From::At(index),
                shape: Shape::Object(Arc::new(fields)),
                cost,
            });
        }
        let (mut arms, mut shapes) = (Vec::new(), Vec::new());
        let reached: Vec<Arc<Klass>> = reached.collect();
        // Only one of the arms is read.
        let mut dearest = Cost::default();
        for klass in reached {
            let (fields, its_cost, its_outputs) = self.far(&klass, &asked.beneath)?;
            if its_cost.tenths(&|_| USUAL) > dearest.tenths(&|_| USUAL) {
                dearest = its_cost;
            }
            arms.push((klass.clone(), its_outputs));
            shapes.push((klass, Arc::new(fields)));
        }
        cost.add(dearest);
        let index = outputs.push(Output::OneOf { end: end.clone(), arms });
        Ok(Became {
            from: From::At(index),
            shape: Shape::Arms(shapes),
            cost,
        })
    }

    fn far(&mut self, klass: &Arc<Klass>, sets: &[&'a SelectionSet]) -> Result<(Fields, Cost, Vec<Output>), Error> {
        let mut outputs = Outputs::new(klass);
        let on = self.object_of(klass)?;
        let (fields, cost) = self.object(on, sets, &mut outputs)?;
        outputs.at_least_id();
        Ok((fields, cost, outputs.list))
    }

    /// What becomes of a value of a kind.
    pub fn value(&mut self, kind: &Kind, ty: &TypeRef, sets: &[&'a SelectionSet], klass: &Klass, stands: Stands) -> Result<Shape, Error> {
        if let Kind::List(item) = kind {
            let TypeRef::List(item_type) = ty.nullable() else {
                return Err(Error::internal(format!("a list has type {ty}")));
            };
            return Ok(Shape::List(Items {
                shape: Box::new(self.value(item, item_type, sets, klass, Stands::InJson)?),
                nullable: !item_type.is_required(),
            }));
        }
        if let Some(leaf) = self.leaf(kind, klass) {
            return Ok(Shape::Leaf(leaf));
        }
        let on = self
            .ground
            .types
            .object(ty.name())
            .ok_or_else(|| Error::internal(format!("{} is not an object type", ty.name())))?;
        let (fields, _) = match kind {
            Kind::Money => {
                let scale = self.money_scale();
                self.fields(on, sets, |_, asked| money_part(asked, scale, stands))?
            }
            Kind::Actor => self.fields(on, sets, |this, asked| this.actor_part(asked))?,
            Kind::Object(kind) => self.fields(on, sets, |this, asked| this.part(kind, asked, klass))?,
            _ => return Err(Error::internal(format!("{kind:?} has no fields"))),
        };
        Ok(Shape::Object(Arc::new(fields)))
    }

    fn part(&mut self, kind: &ObjectKind, asked: &Asked<'a>, klass: &Klass) -> Result<Became, Error> {
        let Meaning::Part(name) = &asked.field.means else {
            return Err(Error::internal(format!("{:?} is not a part", asked.field.means)));
        };
        let part = kind
            .parts
            .iter()
            .find(|part| part.name == *name)
            .ok_or_else(|| Error::internal(format!("no part {name}")))?;
        let shape = self.value(&part.kind, &asked.field.ty, &asked.beneath, klass, Stands::InJson)?;
        Ok(Became::value(From::Part(name.clone()), shape))
    }

    fn actor_part(&mut self, asked: &Asked<'a>) -> Result<Became, Error> {
        let part = match &asked.field.means {
            Meaning::Part(name) if name == "kind" => ActorPart::Kind,
            Meaning::Part(name) if name == "id" => ActorPart::Id,
            Meaning::Part(name) if name == "name" => ActorPart::Name,
            other => return Err(Error::internal(format!("{other:?} is not a part of an actor"))),
        };
        Ok(Became::value(From::Whole, Shape::Leaf(Leaf::Actor(part))))
    }

    /// How an object is named: the klass's template, filled in.
    fn title(&mut self, outputs: &mut Outputs) -> Leaf {
        let klass = outputs.klass.clone();
        let mut pieces = Vec::new();
        let mut rest = klass.title.as_str();
        while let Some((text, behind)) = rest.split_once('{') {
            let Some((name, after)) = behind.split_once('}') else {
                break;
            };
            if !text.is_empty() {
                pieces.push(TitlePiece::Text(text.to_owned()));
            }
            if let Some(property) = klass.property(name)
                && (!property.sensitive || self.ground.sees_sensitive)
            {
                pieces.extend(self.title_piece(property, &klass, outputs));
            }
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(TitlePiece::Text(rest.to_owned()));
        }
        if let Some(id) = klass.property("id") {
            pieces.push(TitlePiece::Fallback(outputs.value(id), Leaf::Id(klass.id_prefix.clone())));
        }
        Leaf::Title(Arc::new(pieces))
    }

    fn title_piece(&self, property: &Arc<Property>, klass: &Klass, outputs: &mut Outputs) -> Option<TitlePiece> {
        match &property.kind {
            Kind::Money => Some(TitlePiece::Money(outputs.value(property), self.money_scale())),
            Kind::Actor => Some(TitlePiece::Value(outputs.value(property), Leaf::Actor(ActorPart::Name))),
            kind => self.leaf(kind, klass).map(|leaf| TitlePiece::Value(outputs.value(property), leaf)),
        }
    }
}

/// `amount` or `currency` of a money value.
pub fn money_part(asked: &Asked<'_>, scale: u32, stands: Stands) -> Result<Became, Error> {
    let (index, leaf) = match &asked.field.means {
        Meaning::Part(name) if name == "amount" => (0, Leaf::Decimal(scale)),
        Meaning::Part(name) if name == "currency" => (1, Leaf::Raw),
        other => return Err(Error::internal(format!("{other:?} is not a part of money"))),
    };
    let from = match stands {
        Stands::InRow => From::At(index),
        Stands::InJson => From::Part(if index == 0 { "amount" } else { "currency" }.to_owned()),
    };
    Ok(Became::value(from, Shape::Leaf(leaf)))
}
