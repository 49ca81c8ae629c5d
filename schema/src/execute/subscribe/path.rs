//! What a subscription reads beside the objects of which it tells: paths along relationships to related rows, found in the reads that
//! its plan was compiled to and in its filter. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use klio_entities::klass::filter::{Base, ContactKind, Op, Operand, Quantifier, Target};
use klio_entities::klass::query::{Order, OrderBy, Output, Page};
use klio_entities::klass::registry::CustomerLink;
use klio_entities::klass::relationship::{Link, Side};
use klio_entities::klass::{End, Filter, Klass, ObjectId, Property, Value};
use klio_entities::store::event::{Event, EventOp};
use klio_subscriptions::route::Term;
use serde_json::Value as Json;

use crate::execute::change::alive;
use crate::execute::follow::{Image, reference};

/// From the objects of which is told to related rows, and what is read of these.
#[derive(Clone, Debug)]
pub struct Path {
    /// The klass of the objects of which is told.
    pub of: Arc<Klass>,
    /// Each end that is followed, with the klass that it reaches. None: the objects themselves.
    pub steps: Vec<(Arc<End>, Arc<Klass>)>,
    /// Legal names, present and former, of what is read of the rows at its end. `None`: whatever changes there may count.
    pub names: Option<BTreeSet<String>>,
    /// It is the filter that reads them: membership may change with them.
    pub filters: bool,
}

/// Where to look for the objects that read a row that has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// At the objects after so many steps …
    pub depth: usize,
    /// … with these ids.
    pub ids: Vec<ObjectId>,
}

/// Paths, as they gather.
#[derive(Debug, Default)]
pub struct Paths(pub Vec<Path>);

impl Paths {
    /// What is read of each of a klass's objects.
    pub fn read(&mut self, of: &Arc<Klass>, outputs: &[Output]) {
        self.outputs(&Path::to(of, false), outputs);
    }

    /// What a filter on a klass's objects looks at.
    pub fn filter(&mut self, of: &Arc<Klass>, filter: Option<&Filter>) {
        let path = Path::to(of, true);
        self.note(&path, []);
        if let Some(filter) = filter {
            self.condition(&path, filter);
        }
    }

    /// Notes that something is read at the end of a path.
    fn note<const N: usize>(&mut self, path: &Path, names: [&str; N]) {
        self.note_all(path, names.into_iter().map(str::to_owned));
    }

    fn note_all(&mut self, path: &Path, names: impl IntoIterator<Item = String>) {
        let its = self.at(path);
        if let Some(its) = &mut its.names {
            its.extend(names);
        }
    }

    fn at(&mut self, path: &Path) -> &mut Path {
        let alike = |(a, b): (&(Arc<End>, Arc<Klass>), &(Arc<End>, Arc<Klass>))| is_same(&a.0, &b.0) && a.1.name == b.1.name;
        let same = |it: &Path| {
            it.of.name == path.of.name
                && it.filters == path.filters
                && it.steps.len() == path.steps.len()
                && it.steps.iter().zip(&path.steps).all(alike)
        };
        let index = self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push(path.clone());
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    fn property(&mut self, path: &Path, property: &Property) {
        let former = property.aliases.iter().map(|alias| alias.legal.clone());
        self.note_all(path, former.chain([property.legal.clone()]));
    }

    /// One step more: what it leads to counts where it is told by the row that holds the link, or by those at both ends.
    fn step(&mut self, path: &Path, end: &Arc<End>, far: &Arc<Klass>) -> Path {
        self.note(path, [&end.legal]);
        let mut next = path.clone();
        next.steps.push((end.clone(), far.clone()));
        let other = other_end(end, far).map(|it| it.legal.clone());
        self.note_all(&next, other);
        next
    }

    fn outputs(&mut self, path: &Path, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Value(property) => self.property(path, property),
                Output::Reference(end) => self.note(path, [&end.legal]),
                Output::One { end, klass, outputs } => {
                    let next = self.step(path, end, klass);
                    self.outputs(&next, outputs);
                }
                Output::OneOf { end, arms } => {
                    for (klass, outputs) in arms {
                        let next = self.step(path, end, klass);
                        self.outputs(&next, outputs);
                    }
                }
                Output::Many { end, page } => {
                    let next = self.step(path, end, &page.klass);
                    self.page(&next, page);
                }
                // A property of a link is told as a change of the end; what befalls a timeline is told by the timeline.
                Output::Link(_) | Output::Cursor | Output::Timeline(_) => {}
            }
        }
    }

    fn page(&mut self, path: &Path, page: &Page) {
        if !page.aggregates.is_empty() || !page.groups.is_empty() {
            self.at(path).names = None;
        }
        if let Some(filter) = &page.filter {
            self.condition(path, filter);
        }
        if let Some(rows) = &page.rows {
            rows.order.iter().for_each(|order| self.order(path, order));
            self.outputs(path, &rows.outputs);
        }
    }

    fn order(&mut self, path: &Path, order: &Order) {
        match (&order.by, order.through.as_slice()) {
            (OrderBy::Property(property), []) => self.property(path, property),
            (OrderBy::Count(end), []) => self.note(path, [&end.legal]),
            (OrderBy::Link(_), []) => {}
            // By what is told of a row further on: whatever changes here may count.
            _ => self.at(path).names = None,
        }
    }

    fn condition(&mut self, path: &Path, filter: &Filter) {
        match filter {
            Filter::And(all) | Filter::Or(all) => all.iter().for_each(|it| self.condition(path, it)),
            Filter::Not(it) => self.condition(path, it),
            Filter::Compare { target, .. } => self.target(path, target),
            // Its own conditions are on the items.
            Filter::Items { of, .. } => self.target(path, of),
            Filter::Related { end, klass, filter, .. } | Filter::Count { end, klass, filter, .. } => {
                let next = self.step(path, end, klass);
                self.condition(&next, filter);
            }
        }
    }

    fn target(&mut self, path: &Path, target: &Target) {
        match target {
            Target::Property(property)
            | Target::Amount(property)
            | Target::Currency(property)
            | Target::Path(Base::Property(property), _)
            | Target::Part(Base::Property(property), ..) => self.property(path, property),
            Target::Reference(end) => self.note(path, [&end.legal]),
            Target::Contact(ContactKind::Email) => self.note(path, ["email", "emails"]),
            Target::Contact(ContactKind::Phone) => self.note(path, ["phone", "phones"]),
            Target::Contact(ContactKind::ExternalId) => self.note(path, ["externalIds"]),
            // A change of a link is told as one of its end; an item is looked at where its list is.
            Target::Link(_) | Target::LinkCurrency(_) | Target::Path(..) | Target::Part(..) => {}
        }
    }
}

/// The same relationship, seen from the klass that an end reaches.
pub fn other_end<'k>(end: &End, far: &'k Klass) -> Option<&'k Arc<End>> {
    let (klass, name) = (&end.relationship.klass, &end.relationship.name);
    let same = |it: &&Arc<End>| it.side != end.side && it.relationship.klass == *klass && it.relationship.name == *name;
    far.ends.iter().find(same)
}

/// Whether two ends are the same one.
fn is_same(a: &End, b: &End) -> bool {
    a.klass == b.klass && a.legal == b.legal
}

/// The columns that hold the link of an end, where the rows that it reaches hold them: the id, and the klass if it may be several.
fn held_there(end: &End) -> Option<(&str, Option<&str>)> {
    match &end.relationship.link {
        Link::Column { column, klass_column, .. } if end.side == Side::To => Some((column, klass_column.as_deref())),
        _ => None,
    }
}

impl Path {
    fn to(of: &Arc<Klass>, filters: bool) -> Self {
        Self {
            of: of.clone(),
            steps: Vec::new(),
            names: Some(BTreeSet::new()),
            filters,
        }
    }

    /// The rows at its end say themselves by which objects they are read: those before the last step.
    pub fn is_held_there(&self) -> bool {
        self.steps.last().is_some_and(|(end, _)| held_there(end).is_some())
    }

    /// The klass of the rows at its end.
    pub fn klass(&self) -> &Arc<Klass> {
        self.after(self.steps.len())
    }

    /// The klass of the objects after so many steps.
    pub fn after(&self, depth: usize) -> &Arc<Klass> {
        depth
            .checked_sub(1)
            .and_then(|last| self.steps.get(last))
            .map_or(&self.of, |(_, klass)| klass)
    }

    /// Which events may concern it; `only`: that object alone is told of.
    pub fn term(&self, only: Option<ObjectId>) -> Term {
        let equal = match (self.steps.as_slice(), only) {
            ([(end, _)], Some(id)) => held_there(end).map(|(column, _)| (column.to_owned(), vec![Json::String(id.0.to_string())])),
            _ => None,
        };
        Term {
            klass: self.klass().name.clone(),
            equal: equal.into_iter().collect(),
            changed: self.names.clone(),
        }
    }

    /// Whether the events of all rows along it stand in the stream of the objects of which is told.
    pub fn stays_in_stream(&self) -> bool {
        let mut near = &self.of;
        self.steps.iter().all(|(end, far)| {
            let through = |klass: &Klass, end: &End| matches!(&klass.customer, CustomerLink::Through(its) if *its == end.legal);
            let other = other_end(end, far);
            let of_conversation = |klass: &Klass, end: &End| klass.standard && end.legal == "conversation" && end.to == ["conversation"];
            let stays = match (&near.customer, &far.customer) {
                (_, CustomerLink::Itself) => through(near, end),
                (CustomerLink::Itself, _) => other.is_some_and(|other| through(far, other)),
                _ => of_conversation(near, end) || other.is_some_and(|other| of_conversation(far, other)),
            };
            near = far;
            stays
        })
    }

    /// Where to look for the objects that read what an event tells of, if it may bear on them.
    pub fn start(&self, event: &Event) -> Option<Start> {
        let (end, far) = self.steps.last()?;
        if event.klass != far.name {
            return None;
        }
        let updates = matches!(event.op, EventOp::Updated | EventOp::Linked | EventOp::Unlinked);
        let bears = |names: &BTreeSet<String>| event.changed.iter().any(|name| names.contains(name));
        if updates && !self.names.as_ref().is_none_or(bears) {
            return None;
        }
        let depth = self.steps.len();
        let Some((column, klass_column)) = held_there(end) else {
            // Where the link is held elsewhere, who comes and goes is told by a change of what holds it.
            return event.object.filter(|_| updates).map(|id| Start { depth, ids: vec![id] });
        };
        let near = &self.after(depth - 1).name;
        let mut ids = Vec::new();
        for image in [&event.before, &event.after].into_iter().flatten() {
            let fits = klass_column.is_none_or(|column| image.get(column).and_then(Json::as_str) == Some(near));
            ids.extend(reference(image, column).filter(|_| fits));
        }
        ids.sort();
        ids.dedup();
        (!ids.is_empty()).then_some(Start { depth: depth - 1, ids })
    }

    /// The objects of which is told that lead to these.
    pub fn lead_to(&self, start: &Start) -> Option<Filter> {
        let among = Operand::Const(Value::List(start.ids.iter().map(|id| Value::Id(*id)).collect()));
        let mut filter = Filter::Compare {
            target: Target::Property(self.after(start.depth).property("id")?.clone()),
            op: Op::In,
            operand: among.clone(),
        };
        for (at, (end, klass)) in self.steps[..start.depth].iter().enumerate().rev() {
            let column = matches!(end.relationship.link, Link::Column { klass_column: None, .. }) && end.side == Side::From;
            filter = if column && at + 1 == start.depth {
                Filter::Compare {
                    target: Target::Reference(end.clone()),
                    op: Op::In,
                    operand: among.clone(),
                }
            } else {
                Filter::Related {
                    end: end.clone(),
                    klass: klass.clone(),
                    quantifier: Quantifier::Some,
                    filter: Box::new(filter),
                }
            };
        }
        Some(filter)
    }
}

/// What a filter said of an object before related rows changed, asked of it now: these rows are left out, and `then` stands for what
/// they said. `None`: it cannot be told so.
pub fn before(filter: &Filter, path: &Path, rows: &[ObjectId], then: bool) -> Option<Filter> {
    let [(end, far)] = path.steps.as_slice() else { return None };
    let same = |its: &End, klass: &Klass| is_same(its, end) && klass.name == far.name;
    Some(match filter {
        Filter::And(all) => Filter::And(all.iter().map(|it| before(it, path, rows, then)).collect::<Option<_>>()?),
        Filter::Or(any) => Filter::Or(any.iter().map(|it| before(it, path, rows, then)).collect::<Option<_>>()?),
        Filter::Not(it) => Filter::Not(Box::new(before(it, path, rows, then)?)),
        Filter::Related {
            end: its,
            klass,
            quantifier,
            filter,
        } if same(its, klass) => {
            let others = Filter::Compare {
                target: Target::Property(far.property("id")?.clone()),
                op: Op::NotIn,
                operand: Operand::Const(Value::List(rows.iter().map(|id| Value::Id(*id)).collect())),
            };
            let inner = match quantifier {
                Quantifier::Every => Filter::Not(filter.clone()),
                _ => (**filter).clone(),
            };
            let some = Filter::Related {
                end: its.clone(),
                klass: klass.clone(),
                quantifier: Quantifier::Some,
                filter: Box::new(Filter::And(vec![others, inner])),
            };
            let some = Filter::Or(vec![some, if then { Filter::And(Vec::new()) } else { Filter::Or(Vec::new()) }]);
            match quantifier {
                Quantifier::Some => some,
                Quantifier::Every | Quantifier::None => Filter::Not(Box::new(some)),
            }
        }
        Filter::Count { end: its, klass, .. } if same(its, klass) => return None,
        Filter::Related { .. } | Filter::Count { .. } | Filter::Compare { .. } | Filter::Items { .. } => filter.clone(),
    })
}

/// The one condition of a filter on rows at the end of a path: what makes "some" of it true. `None`: there are several, or it counts.
pub fn condition(filter: &Filter, path: &Path) -> Option<Filter> {
    fn gather(filter: &Filter, end: &End, far: &Klass, found: &mut Vec<Option<Filter>>) {
        match filter {
            Filter::And(all) | Filter::Or(all) => all.iter().for_each(|it| gather(it, end, far, found)),
            Filter::Not(it) => gather(it, end, far, found),
            Filter::Related {
                end: its,
                klass,
                quantifier,
                filter,
            } if is_same(its, end) && klass.name == far.name => found.push(Some(match quantifier {
                Quantifier::Every => Filter::Not(filter.clone()),
                _ => (**filter).clone(),
            })),
            Filter::Count { end: its, klass, .. } if is_same(its, end) && klass.name == far.name => found.push(None),
            _ => {}
        }
    }
    let [(end, far)] = path.steps.as_slice() else { return None };
    let mut found = Vec::new();
    gather(filter, end, far, &mut found);
    match found.as_mut_slice() {
        [one] => one.take(),
        _ => None,
    }
}

/// The row of an event as it was before, if it was one of those to which an object leads.
pub fn led_to<'e>(path: &Path, event: &'e Event, object: ObjectId) -> Option<&'e Image> {
    let (end, _) = path.steps.last()?;
    let image = alive(event.before.as_ref())?;
    match held_there(end) {
        Some((column, _)) => (reference(image, column) == Some(object)).then_some(image),
        None => Some(image),
    }
}

#[cfg(test)]
mod tests;
