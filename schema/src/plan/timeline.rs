//! A customer's timeline: a page of entries of many kinds, a part of the customer's row. What is selected of the objects for which
//! they stand is a part of it too, for the klasses that the selection names; of the others, in an org that has many, it is read by
//! one statement for each klass present.

use std::sync::Arc;

use async_graphql_parser::types::SelectionSet;
use klio_entities::klass::query::{Entries, EntryArm, EntryOf, Output, TimelinePage, Window as ReadWindow};
use klio_entities::klass::{Kind, Klass};

use super::argument::Fit;
use super::coerce::Input;
use super::compiler::{Asked, Became, Compiler, Outputs};
use super::cost::{self, Cost};
use super::cursor;
use super::page::{page_fact, rows_of};
use super::select;
use super::shape::{Fields, From, Leaf, Shape, Window};
use super::site::Site;
use crate::error::Error;
use crate::types::model::{EnumMeaning, Meaning, TypeRef};
use crate::types::timeline::EVENTS;

/// Of how many klasses the objects are read with the page. A statement grows with each, and so does the time to plan it.
const AT_ONCE: usize = 8;

/// What is selected of an entry; its node is the entry's row (see [`TimelinePage`]).
#[derive(Debug)]
pub struct Entry {
    /// Of objects that come with the page, by klass.
    pub objects: Vec<(Arc<Klass>, Arc<Fields>)>,
    /// Of all others, if there may be any.
    pub site: Option<Arc<Site>>,
    /// Of entries that stand for no object, by their kind.
    pub events: Vec<(&'static str, Arc<Fields>)>,
}

/// What a timeline's fields ask of the statement, as it gathers.
struct Wanted {
    rows: bool,
    total: bool,
    entries: Entries,
    arms: Vec<Arm>,
    row_cost: Cost,
    window: Window,
}

/// An [`EntryArm`] as it gathers.
struct Arm {
    kind: String,
    of: EntryOf,
    outputs: Outputs,
}

impl Wanted {
    /// The arm of a kind, which is made when it is not there.
    fn arm(&mut self, kind: &str, of: EntryOf, klass: &Arc<Klass>) -> &mut Outputs {
        let there = self.arms.iter().position(|arm| arm.kind == kind);
        let index = there.unwrap_or_else(|| {
            self.arms.push(Arm {
                kind: kind.to_owned(),
                of,
                outputs: Outputs::new(klass),
            });
            self.arms.len() - 1
        });
        &mut self.arms[index].outputs
    }
}

impl<'a> Compiler<'a> {
    /// `customer.timeline(…)`.
    pub fn timeline(&mut self, asked: &Asked<'a>, outputs: &mut Outputs) -> Result<Became, Error> {
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

        let mut wanted = Wanted {
            rows: false,
            total: false,
            entries: Entries::default(),
            arms: Vec::new(),
            row_cost: Cost::of(cost::ROW),
            window,
        };
        let on = self.named_object(asked.field.ty.name())?;
        let (fields, _) = self.fields(on, &asked.beneath, |this, asked| this.timeline_field(asked, &mut wanted))?;
        let mut cost = Cost::of(cost::STATEMENT + cost::PAGE + if wanted.total { cost::SWEEP } else { 0 });
        cost.times.push((wanted.window.limit, wanted.row_cost));
        let arms = wanted.arms.into_iter().map(|arm| EntryArm {
            kind: arm.kind,
            klass: arm.outputs.klass,
            of: arm.of,
            outputs: arm.outputs.list,
        });
        let entries = Entries {
            arms: arms.collect(),
            ..wanted.entries
        };
        let index = outputs.push(Output::Timeline(Box::new(TimelinePage {
            kinds,
            channels,
            since,
            until,
            window: ReadWindow {
                limit,
                backward: wanted.window.backward,
                after,
                before,
            },
            entries: wanted.rows.then_some(entries),
            total: wanted.total,
        })));
        Ok(Became {
            from: From::At(index),
            shape: Shape::Object(Arc::new(fields)),
            cost,
        })
    }

    fn timeline_field(&mut self, asked: &Asked<'a>, wanted: &mut Wanted) -> Result<Became, Error> {
        match &asked.field.means {
            Meaning::ConnectionNodes => {
                wanted.rows = true;
                wanted.row_cost.own += cost::ROW;
                let entry = self.entry(&asked.field.ty, &asked.beneath, wanted)?;
                Ok(rows_of(&asked.field.ty, entry, &wanted.window))
            }
            Meaning::Edges => {
                wanted.rows = true;
                let on = self.named_object(asked.field.ty.name())?;
                let (fields, cost) = self.fields(on, &asked.beneath, |this, asked| this.timeline_edge(asked, wanted))?;
                wanted.row_cost.add(cost);
                Ok(rows_of(&asked.field.ty, Shape::Object(Arc::new(fields)), &wanted.window))
            }
            Meaning::PageInfo => {
                wanted.rows = true;
                wanted.entries.place = true;
                let on = self.named_object(asked.field.ty.name())?;
                let (fields, _) = self.fields(on, &asked.beneath, |_, asked| page_fact(asked))?;
                Ok(Became {
                    from: From::At(0),
                    shape: Shape::PageInfo(wanted.window.clone(), Arc::new(fields)),
                    cost: Cost::default(),
                })
            }
            Meaning::TotalCount => {
                wanted.total = true;
                Ok(Became::value(From::At(1), Shape::Leaf(Leaf::Int)))
            }
            Meaning::LogCursor => {
                self.log_cursor = true;
                Ok(Became::value(From::Whole, Shape::LogCursor))
            }
            other => Err(Error::internal(format!("{other:?} is not a field of a timeline"))),
        }
    }

    fn timeline_edge(&mut self, asked: &Asked<'a>, wanted: &mut Wanted) -> Result<Became, Error> {
        Ok(match &asked.field.means {
            Meaning::EdgeNode => Became {
                from: From::Whole,
                shape: self.entry(&asked.field.ty, &asked.beneath, wanted)?,
                cost: Cost::of(cost::ROW),
            },
            Meaning::EdgeCursor => {
                wanted.entries.place = true;
                Became::value(From::At(0), Shape::Leaf(Leaf::Cursor(wanted.window.order)))
            }
            Meaning::TimelineField("at") => {
                wanted.entries.place = true;
                Became::value(From::In(0, 0), Shape::Leaf(Leaf::DateTime))
            }
            Meaning::TimelineField("kind") => Became::value(From::At(1), Shape::Leaf(self.enum_leaf(&asked.field.ty))),
            Meaning::TimelineField("channel") => {
                wanted.entries.channel = true;
                Became::value(From::At(4), Shape::Leaf(self.enum_leaf(&asked.field.ty)))
            }
            other => return Err(Error::internal(format!("{other:?} is not a field of a timeline's edge"))),
        })
    }

    /// What is selected of an entry.
    fn entry(&mut self, ty: &TypeRef, sets: &[&'a SelectionSet], wanted: &mut Wanted) -> Result<Shape, Error> {
        let (klasses, others) = self.klasses_at_once(sets)?;
        // Of the objects that an entry may stand for it stands for one: the dearest counts.
        let mut costs = Vec::with_capacity(klasses.len() + EVENTS.len());
        let mut objects = Vec::with_capacity(klasses.len());
        for klass in klasses {
            let on = self.object_of(&klass)?;
            let outputs = wanted.arm(&klass.name, EntryOf::Object, &klass);
            let (fields, cost) = self.object(on, sets, outputs)?;
            outputs.at_least_id();
            costs.push(cost);
            objects.push((klass, Arc::new(fields)));
        }
        let site = others.then(|| {
            wanted.entries.object = true;
            self.site(ty.name(), true, sets)
        });
        let mut events = Vec::with_capacity(EVENTS.len());
        for (_, kind, type_name, _) in EVENTS {
            let Some(on) = self.ground.types.object(type_name) else { continue };
            let (fields, cost) = self.fields(on, sets, |this, asked| this.event_field(asked, kind, wanted))?;
            costs.push(cost);
            events.push((kind, Arc::new(fields)));
        }
        wanted.row_cost.add(Cost::dearest(costs));
        Ok(Shape::Entry(Arc::new(Entry { objects, site, events })))
    }

    /// The klasses whose objects are read with the page, and whether there are others on the timeline.
    fn klasses_at_once(&self, sets: &[&'a SelectionSet]) -> Result<(Vec<Arc<Klass>>, bool), Error> {
        let ground = self.ground;
        let on_it: Vec<&Arc<Klass>> = ground.types.registry.enabled().filter(|klass| klass.timeline.is_some()).collect();
        if on_it.len() <= AT_ONCE {
            return Ok((on_it.into_iter().cloned().collect(), false));
        }
        // Those of which most is selected: what is named by its own type comes before what only an interface covers.
        let mut named = Vec::new();
        for klass in on_it {
            let groups = select::collect(ground.types, &self.document.ast, self.object_of(klass)?, sets, ground.variables)?;
            let fields = groups.values().filter(|group| group[0].node.name.node != "__typename").count();
            if fields > 0 {
                named.push((fields, klass));
            }
        }
        named.sort_by_key(|(fields, _)| std::cmp::Reverse(*fields));
        Ok((named.into_iter().take(AT_ONCE).map(|(_, klass)| klass.clone()).collect(), true))
    }

    fn event_field(&mut self, asked: &Asked<'a>, kind: &str, wanted: &mut Wanted) -> Result<Became, Error> {
        let data = |name: &'static str| From::InPart(6, name);
        Ok(match &asked.field.means {
            Meaning::TimelineField("id") => {
                wanted.entries.place = true;
                Became::value(From::In(0, 1), Shape::Leaf(Leaf::Id("entry".into())))
            }
            Meaning::TimelineField("at") => {
                wanted.entries.place = true;
                Became::value(From::In(0, 0), Shape::Leaf(Leaf::DateTime))
            }
            Meaning::TimelineField("conversation") => {
                let on = self.named_object(asked.field.ty.name())?;
                let klass = on
                    .klass
                    .as_ref()
                    .ok_or_else(|| Error::internal("a conversation that is of no klass"))?;
                let outputs = wanted.arm(kind, EntryOf::Conversation, klass);
                let (fields, mut cost) = self.object(on, &asked.beneath, outputs)?;
                outputs.at_least_id();
                cost.own += cost::ROW;
                Became {
                    from: From::At(5),
                    shape: Shape::Object(Arc::new(fields)),
                    cost,
                }
            }
            Meaning::TimelineField(name @ ("from" | "to")) => {
                wanted.entries.data = true;
                Became::value(data(name), Shape::Leaf(self.enum_leaf(&asked.field.ty)))
            }
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
