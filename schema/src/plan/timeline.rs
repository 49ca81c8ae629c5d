//! A customer's timeline: a page of entries of many kinds by one statement, then what is selected of the objects for which they
//! stand, by one statement for each klass present.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use klio_entities::klass::Kind;
use klio_entities::klass::query::{Read, TimelinePage, Window as ReadWindow};

use super::Fetch;
use super::argument::Fit;
use super::coerce::Input;
use super::compiler::{Asked, Became, Compiler, Outputs};
use super::cost::{self, Cost};
use super::cursor;
use super::page::{page_fact, rows_of};
use super::shape::{Fields, From, Leaf, Shape};
use super::site::Site;
use crate::error::Error;
use crate::types::model::{EnumMeaning, Meaning, TypeRef};
use crate::types::timeline::EVENTS;

/// A selected timeline.
#[derive(Debug)]
pub struct Timeline {
    /// Tells timelines of one process apart.
    pub id: usize,
    /// The statement; its first argument is the list of customers. The shape is that of one customer's `[customer, rows, total]`.
    pub fetch: Fetch,
}

/// What is selected of an entry; its node is the entry's row (see [`Read::Timeline`]).
#[derive(Debug)]
pub struct Entry {
    /// Of an object of a klass.
    pub site: Arc<Site>,
    /// Of entries that stand for no object, by their kind.
    pub events: Vec<(&'static str, Arc<Fields>)>,
}

impl<'a> Compiler<'a> {
    /// `customer.timeline(…)`.
    pub fn timeline(&mut self, asked: &Asked<'a>, outputs: &mut Outputs) -> Result<Became, Error> {
        let klass = outputs.klass.clone();
        let id = klass.property("id").ok_or_else(|| Error::internal("a customer without an id"))?;
        let mut inner = Compiler::new(self.ground, self.document);
        let (fetch, cost) = inner.timeline_page(asked)?;
        self.depends_on.append(&mut inner.depends_on);
        self.guards.extend(fetch.guards.iter().cloned());
        self.deferred = true;
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let timeline = Timeline {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            fetch,
        };
        Ok(Became {
            from: From::At(outputs.value(id)),
            shape: Shape::Timeline(Arc::new(timeline)),
            cost,
        })
    }

    fn timeline_page(&mut self, asked: &Asked<'a>) -> Result<(Fetch, Cost), Error> {
        // First, so that it is the first argument.
        let customer = self.operands.given();
        let arguments = &asked.arguments;
        let order = cursor::order_hash("timeline|at-1");
        let (limit, mut window) = self.window(arguments, order, self.ground.page_default, self.ground.page_most)?;
        window.cursor = Some(0);
        let position = |this: &mut Self, name: &str| match arguments.given(name) {
            Some(input) => this.position_of(input, &[Kind::DateTime], order).map(Some),
            None => Ok(None),
        };
        let (after, before) = (position(self, "after")?, position(self, "before")?);
        let stored = |this: &mut Self, name: &str| match (arguments.given(name), asked.field.arg(name)) {
            (Some(input), Some(argument)) => {
                let list = this.stored(&argument.ty, input);
                if list.items().iter().any(Input::is_null) {
                    return Err(Error::bad(format!("null in `{name}`.")));
                }
                this.operand(&list, &Fit::As).map(Some)
            }
            _ => Ok(None),
        };
        let (kinds, channels) = (stored(self, "kinds")?, stored(self, "channels")?);
        let (since, until) = (stored(self, "since")?, stored(self, "until")?);

        let mut total = false;
        let mut row_cost = Cost::of(cost::ROW);
        let on = self.named_object(asked.field.ty.name())?;
        let (fields, _) = self.fields(on, &asked.beneath, |this, asked| match &asked.field.means {
            Meaning::ConnectionNodes => {
                let entry = this.entry(&asked.field.ty, &asked.beneath)?;
                row_cost.own += cost::ROW;
                Ok(Became {
                    from: From::At(1),
                    ..rows_of(&asked.field.ty, entry, &window)
                })
            }
            Meaning::Edges => {
                let on = this.named_object(asked.field.ty.name())?;
                let (fields, cost) = this.fields(on, &asked.beneath, |this, asked| this.timeline_edge(asked, order))?;
                row_cost.add(cost);
                Ok(Became {
                    from: From::At(1),
                    ..rows_of(&asked.field.ty, Shape::Object(Arc::new(fields)), &window)
                })
            }
            Meaning::PageInfo => {
                let on = this.named_object(asked.field.ty.name())?;
                let (fields, _) = this.fields(on, &asked.beneath, |_, asked| page_fact(asked))?;
                Ok(Became {
                    from: From::At(1),
                    shape: Shape::PageInfo(window.clone(), Arc::new(fields)),
                    cost: Cost::default(),
                })
            }
            Meaning::TotalCount => {
                total = true;
                Ok(Became::value(From::At(2), Shape::Leaf(Leaf::Int)))
            }
            Meaning::LogCursor => {
                this.log_cursor = true;
                Ok(Became::value(From::Whole, Shape::LogCursor))
            }
            other => Err(Error::internal(format!("{other:?} is not a field of a timeline"))),
        })?;
        let mut cost = Cost::of(cost::STATEMENT + cost::PAGE + if total { cost::SWEEP } else { 0 });
        cost.times.push((self.count_for_parent(window.limit), row_cost));
        let read = Read::Timelines(TimelinePage {
            customer,
            kinds,
            channels,
            since,
            until,
            window: ReadWindow {
                limit,
                backward: window.backward,
                after,
                before,
            },
            total,
        });
        let fetch = self.fetch(read, Shape::Object(Arc::new(fields)), cost.clone());
        Ok((fetch, cost))
    }

    fn timeline_edge(&mut self, asked: &Asked<'a>, order: u32) -> Result<Became, Error> {
        Ok(match &asked.field.means {
            Meaning::EdgeNode => Became {
                from: From::Whole,
                shape: self.entry(&asked.field.ty, &asked.beneath)?,
                cost: Cost::of(cost::ROW),
            },
            Meaning::EdgeCursor => Became::value(From::At(0), Shape::Leaf(Leaf::Cursor(order))),
            Meaning::TimelineField("at") => Became::value(From::In(0, 0), Shape::Leaf(Leaf::DateTime)),
            Meaning::TimelineField("kind") => Became::value(From::At(1), Shape::Leaf(self.enum_leaf(&asked.field.ty))),
            Meaning::TimelineField("channel") => Became::value(From::At(4), Shape::Leaf(self.enum_leaf(&asked.field.ty))),
            other => return Err(Error::internal(format!("{other:?} is not a field of a timeline's edge"))),
        })
    }

    /// What is selected of an entry.
    fn entry(&mut self, ty: &TypeRef, sets: &[&'a async_graphql_parser::types::SelectionSet]) -> Result<Shape, Error> {
        let site = self.site(ty.name(), true, sets);
        let mut events = Vec::new();
        for (_, kind, type_name, _) in EVENTS {
            let Some(on) = self.ground.types.object(type_name) else { continue };
            let (fields, _) = self.fields(on, sets, |this, asked| this.event_field(asked))?;
            events.push((kind, Arc::new(fields)));
        }
        Ok(Shape::Entry(Arc::new(Entry { site, events })))
    }

    fn event_field(&mut self, asked: &Asked<'a>) -> Result<Became, Error> {
        let data = |name: &'static str| From::InPart(6, name);
        Ok(match &asked.field.means {
            Meaning::TimelineField("id") => Became::value(From::In(0, 1), Shape::Leaf(Leaf::Id("entry".into()))),
            Meaning::TimelineField("at") => Became::value(From::In(0, 0), Shape::Leaf(Leaf::DateTime)),
            Meaning::TimelineField("conversation") => {
                let site = self.site(asked.field.ty.name(), true, &asked.beneath);
                Became::value(From::At(5), Shape::Load(site))
            }
            Meaning::TimelineField(name @ ("from" | "to")) => Became::value(data(name), Shape::Leaf(self.enum_leaf(&asked.field.ty))),
            other => return Err(Error::internal(format!("{other:?} is not a field of an event"))),
        })
    }

    /// How a stored enum of this type is written; anything else as it stands.
    fn enum_leaf(&self, ty: &TypeRef) -> Leaf {
        match self.ground.types.enumeration(ty.name()) {
            Some(it) => {
                let values = it.values.iter().map(|(legal, value)| match &value.means {
                    EnumMeaning::Stored(stored) => (stored.clone(), legal.into()),
                    _ => (legal.into(), legal.into()),
                });
                Leaf::Enum(Arc::new(values.collect()))
            }
            None => Leaf::Raw,
        }
    }
}
