//! What to read: a tree that any front end makes and that `store/sql/` alone turns into a statement.
//!
//! A statement answers with **one row of one column of JSON text**. The tree says what is in it by position, not by
//! name: an object is an array of its outputs, in order. Names, ids, nulls and cursors are settled by the one who
//! asked (`schema/execute`), so one statement serves every alias, and nothing but values is sent.
//!
//! | what | JSON |
//! |---|---|
//! | [`Read::One`] | `null` or a row |
//! | [`Read::Page`] | a page |
//! | a row | `[output, output, …]` |
//! | a page | `[rows or null, total or null, aggregates or null, [groups, groups, …]]` |
//! | rows | `[row, …]`; one more than asked for when there are more; in reverse order when [`Window::backward`] |
//! | [`Output::One`] | `null` or a row |
//! | [`Output::OneOf`] | `null` or `["klass name", row]` |
//! | [`Output::Many`] | a page |
//! | [`Read::Timeline`], [`Output::Timeline`] | `[entries or null, total or null]` |
//! | entries | `[entry, …]`; one more than asked for when there are more; in reverse order when [`Window::backward`] |
//! | an entry | `[[at, entry id], kind, klass name, object id, channel, arm's row, data]`; what was not asked for is `null` |
//! | [`Output::Cursor`] | `[key, …, id]`: the values of the order's keys, then the id |
//! | aggregates | `[value, …]` in the order asked for |
//! | groups | `[[ [key, …], [aggregate, …] ], …]` |
//!
//! | kind | JSON of a value (null: `null`) |
//! |---|---|
//! | Id | string: hexadecimal, with or without hyphens |
//! | Integer | number |
//! | Decimal | number; on SQLite scaled by 10^6, see `Dialect::scaled` |
//! | Money | `[amount, "CUR"]`; amount a number, on SQLite scaled by 10^4 |
//! | Boolean | `true`/`false`, on SQLite `1`/`0` |
//! | Date | `"2026-11-24"` |
//! | DateTime | string as Postgres writes it (UTC), on SQLite a number: microseconds since 1970 |
//! | Json, Object, List | the JSON itself, items as RFC 3339 strings, decimals as strings, enums as stored |
//! | the rest | string (an enum's stored value) |

use std::sync::Arc;

use super::filter::{ContactKind, Operand};
use super::{End, Filter, Klass, Property};

/// A whole statement's worth of reading.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// At most one object.
    One {
        /// The klass.
        klass: Arc<Klass>,
        /// Which one.
        key: Key,
        /// Soft-deleted ones too.
        deleted: bool,
        /// What of it.
        outputs: Vec<Output>,
    },
    /// Many, as a page.
    Page(Page),
    /// Objects of one klass by ids: answers `[row, …]` in no order, those that exist; ask for [`Output::Value`] of the id first.
    Many {
        /// The klass.
        klass: Arc<Klass>,
        /// A list of ids.
        ids: Operand,
        /// Soft-deleted ones too.
        deleted: bool,
        /// What of each.
        outputs: Vec<Output>,
    },
    /// A page of a customer's timeline.
    Timeline {
        /// The customer: an id.
        customer: Operand,
        /// The page.
        page: TimelinePage,
    },
}

/// Which single object.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// By id.
    Id(Operand),
    /// By a unique property.
    Unique(Arc<Property>, Operand),
    /// A customer by a contact point that identifies it.
    Contact(ContactKind, Operand),
}

/// Many objects of a klass: rows, a total, aggregates, groups; each only where asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The klass.
    pub klass: Arc<Klass>,
    /// Which.
    pub filter: Option<Filter>,
    /// Soft-deleted ones too.
    pub deleted: bool,
    /// The rows, if asked for.
    pub rows: Option<Rows>,
    /// Whether the number of all that match is asked for.
    pub total: bool,
    /// Over all that match.
    pub aggregates: Vec<Aggregate>,
    /// Each `groups` field asked for.
    pub groups: Vec<Groups>,
}

/// The rows of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// By what; the id is appended in the direction of the last key (ascending without one), so the order is total.
    pub order: Vec<Order>,
    /// Which part.
    pub window: Window,
    /// What of each.
    pub outputs: Vec<Output>,
}

/// Which part of an ordered list.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// How many (`first` or `last`): an integer. The statement reads one more.
    pub limit: Operand,
    /// From the end (`last`): rows come in reverse order.
    pub backward: bool,
    /// Behind this position, exclusive.
    pub after: Option<Position>,
    /// Before this position, exclusive.
    pub before: Option<Position>,
}

/// A position in an order: for each key its value, then the id. A key that is null at this position is `None`
/// (known when the plan is made, since it changes the statement).
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// One for each [`Rows::order`].
    pub keys: Vec<Option<Operand>>,
    /// The id.
    pub id: Operand,
}

/// One key of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// To-one ends to follow first.
    pub through: Vec<Arc<End>>,
    /// What to order by.
    pub by: OrderBy,
    /// Largest first.
    pub descending: bool,
    /// Nulls before the others.
    pub nulls_first: bool,
}

/// What an order's key is.
#[derive(Clone, Debug, PartialEq)]
pub enum OrderBy {
    /// A property (money: its amount).
    Property(Arc<Property>),
    /// The number of objects at a to-many end.
    Count(Arc<End>),
    /// A property of the link (only at a to-many end over a link table).
    Link(Arc<Property>),
}

/// What is read of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A property's value.
    Value(Arc<Property>),
    /// A property of the link through which the object was reached.
    Link(Arc<Property>),
    /// The position in the order.
    Cursor,
    /// The object at a to-one end.
    One {
        /// The end.
        end: Arc<End>,
        /// The klass it reaches.
        klass: Arc<Klass>,
        /// What of it.
        outputs: Vec<Output>,
    },
    /// The object at a polymorphic to-one end.
    OneOf {
        /// The end.
        end: Arc<End>,
        /// What of each klass that it may be.
        arms: Vec<(Arc<Klass>, Vec<Output>)>,
    },
    /// Whether a to-one end has an object, by id alone: the id or null (no join).
    Reference(Arc<End>),
    /// The objects at a to-many end, a page for each object.
    Many {
        /// The end.
        end: Arc<End>,
        /// The page; its klass is one of the end's.
        page: Box<Page>,
    },
    /// Of a customer: a page of its timeline.
    Timeline(Box<TimelinePage>),
}

/// A number over many objects. Answers: count and countDistinct an integer; sum/min/max/percentile as the property's kind;
/// avg and percentile as a JSON number in plain units (not scaled). Money: `[amount, "CUR"]`, null where several currencies meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which number.
    pub function: AggregateFunction,
    /// Of which property; `None` only for `Count`.
    pub property: Option<Arc<Property>>,
}

/// Which number.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "named as in the schema")]
pub enum AggregateFunction {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
    /// Continuous percentile, 0..=1, of a numeric property; answers in plain units like avg.
    Percentile(f64),
}

/// Objects gathered by keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    /// By what.
    pub by: Vec<GroupBy>,
    /// Which numbers of each.
    pub aggregates: Vec<Aggregate>,
    /// Which groups: conditions on aggregates, all of which must hold.
    pub having: Vec<Having>,
    /// In which order: index into `aggregates` or `by`, descending. Ties (and no order) fall to the keys, ascending, nulls last.
    pub order: Vec<(GroupOrder, bool)>,
    /// How many.
    pub limit: Operand,
}

/// A condition on an aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct Having {
    /// The number.
    pub aggregate: Aggregate,
    /// `Eq Ne Gt Gte Lt Lte`.
    pub op: super::filter::Op,
    /// With what.
    pub operand: Operand,
}

/// By what groups are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupOrder {
    /// Index into [`Groups::by`].
    Key(usize),
    /// Index into [`Groups::aggregates`].
    Aggregate(usize),
}

/// One key of a grouping.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupBy {
    /// At most one to-one end to follow first.
    pub through: Option<Arc<End>>,
    /// What.
    pub by: GroupKey,
}

/// What a group shares.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupKey {
    /// A property's value (answers as the kind; money: its currency).
    Property(Arc<Property>),
    /// The object at a to-one end: its id.
    Reference(Arc<End>),
    /// The bucket of a date or datetime: answers the local date on which the bucket starts, `"2026-11-01"` (for `Hour`: `"2026-11-01T13:00"`).
    Bucket {
        /// The property.
        property: Arc<Property>,
        /// How wide.
        bucket: Bucket,
        /// IANA name; checked when the plan is made.
        zone: String,
    },
}

/// The width of a date bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in the schema")]
pub enum Bucket {
    Hour,
    Day,
    /// Starts on Monday.
    Week,
    Month,
    Quarter,
    Year,
}

/// A page of a customer's timeline, which runs from the newest entry to the oldest.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelinePage {
    /// Only these kinds: a list of strings.
    pub kinds: Option<Operand>,
    /// Only these channels: a list of strings.
    pub channels: Option<Operand>,
    /// Not before: a datetime.
    pub since: Option<Operand>,
    /// Before: a datetime.
    pub until: Option<Operand>,
    /// Which part of the list; a position has one key, `at`.
    pub window: Window,
    /// What of each entry, if entries are asked for.
    pub entries: Option<Entries>,
    /// Whether the number of all that match is asked for.
    pub total: bool,
}

/// What is read of an entry of a timeline, beside its kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries {
    /// When it happened, and the entry's id: its place on the timeline.
    pub place: bool,
    /// For which object it stands: klass and id.
    pub object: bool,
    /// The channel.
    pub channel: bool,
    /// What it tells itself.
    pub data: bool,
    /// What is read of the object behind an entry, by the entry's kind. An entry of another kind has no row, and neither has one
    /// whose object is gone.
    pub arms: Vec<EntryArm>,
}

/// What is read of the object behind entries of a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryArm {
    /// The kind.
    pub kind: String,
    /// The object's klass.
    pub klass: Arc<Klass>,
    /// Which object.
    pub of: EntryOf,
    /// What of it.
    pub outputs: Vec<Output>,
}

/// An object behind an entry of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryOf {
    /// That for which the entry stands.
    Object,
    /// The conversation to which it belongs.
    Conversation,
}
