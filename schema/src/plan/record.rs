//! What is answered from memory: definitions of klasses, payloads of mutations, events of subscriptions.

use std::sync::Arc;

use async_graphql_parser::types::SelectionSet;
use klio_entities::klass::Klass;

use super::compiler::{Asked, Became, Compiler};
use super::cost::{self, Cost};
use super::shape::{Fields, From, Items, Leaf, Shape};
use super::site::Site;
use crate::error::Error;
use crate::execute::record::{Cell, Record};
use crate::execute::write;
use crate::types::model::{Meaning, ObjectType, Type, TypeRef};

impl<'a> Compiler<'a> {
    /// The fields of a record.
    pub fn record(&mut self, on: &'a ObjectType, sets: &[&'a SelectionSet]) -> Result<(Fields, Cost), Error> {
        self.fields(on, sets, |this, asked| {
            let from = match &asked.field.means {
                Meaning::Record(name) | Meaning::TimelineField(name) => From::Record(name),
                // Of a value with parts that stands in a record, such as an actor.
                Meaning::Part(name) => From::Part(name.clone()),
                other => return Err(Error::internal(format!("{other:?} is not a field of a record"))),
            };
            let (shape, cost) = this.record_value(&asked.field.ty, &asked.beneath)?;
            Ok(Became { from, shape, cost })
        })
    }

    /// What becomes of a record's field of this type.
    pub fn record_value(&mut self, ty: &TypeRef, sets: &[&'a SelectionSet]) -> Result<(Shape, Cost), Error> {
        match ty {
            TypeRef::NonNull(inner) => self.record_value(inner, sets),
            TypeRef::List(item) => {
                let (shape, cost) = self.record_value(item, sets)?;
                let items = Items {
                    shape: Box::new(shape),
                    nullable: !item.is_required(),
                };
                Ok((Shape::List(items), cost))
            }
            TypeRef::Named(name) => match self.ground.types.types.get(name) {
                Some(Type::Object(it)) if it.klass.is_none() && !it.interface => {
                    let (fields, cost) = self.record(it, sets)?;
                    Ok((Shape::Object(Arc::new(fields)), cost))
                }
                // Objects of klasses, known only at run time; a record may stand there as well (a member of a union).
                Some(Type::Object(_) | Type::Union(_)) => {
                    let site = self.site(name, true, sets);
                    Ok((Shape::Load(site), Cost::of(cost::STATEMENT + cost::ROW)))
                }
                _ => Ok((Shape::Leaf(Leaf::Raw), Cost::of(cost::VALUE))),
            },
        }
    }

    /// A place for objects that are known only at run time.
    pub fn site(&mut self, on: &str, deleted: bool, sets: &[&'a SelectionSet]) -> Arc<Site> {
        self.deferred = true;
        let selections = sets.iter().map(|set| (*set).clone()).collect();
        let klass = self.ground.types.object(on).and_then(|it| it.klass.clone());
        Arc::new(Site::new(on, klass, deleted, self.document.clone(), selections))
    }

    /// `klass` of an object: known when the plan is made.
    pub fn klass_of(&mut self, klass: &Arc<Klass>, asked: &Asked<'a>) -> Result<Became, Error> {
        let (shape, _) = self.record_value(&asked.field.ty, &asked.beneath)?;
        let registry = self.ground.types.registry.clone();
        let json = write::known(&shape, Cell::Record(Record::Klass(registry, klass.clone())))?;
        Ok(Became::known(json))
    }
}
