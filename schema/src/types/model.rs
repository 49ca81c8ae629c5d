//! The types of an org's schema, and what each field means. Made once per registry version by the sibling modules; read by
//! `emit` (into async-graphql, for validation, introspection and SDL) and by `plan` (which compiles meanings, not names).

use std::borrow::Cow;
use std::sync::Arc;

use klio_entities::klass::query::{AggregateFunction, Bucket};
use klio_entities::klass::{End, Klass, Property, Registry, filter};

pub use super::name::{ByName, Name};

/// A description or a reason: most are the same in every schema.
pub type Text = Cow<'static, str>;

/// An org's types.
#[derive(Debug)]
pub struct Types {
    /// From what they were made.
    pub registry: Arc<Registry>,
    /// By name, in the order of their making.
    pub types: ByName<Type>,
}

/// A named type.
#[derive(Debug)]
pub enum Type {
    /// An object type or interface: both have fields.
    Object(ObjectType),
    /// A union.
    Union(UnionType),
    /// An enum.
    Enum(EnumType),
    /// An input object.
    Input(InputType),
    /// A scalar.
    Scalar(ScalarType),
}

/// An object type or an interface.
#[derive(Debug)]
pub struct ObjectType {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub description: Option<Text>,
    /// Is an interface.
    pub interface: bool,
    /// Interfaces that it implements.
    pub implements: Vec<Name>,
    /// The klass of which it is the object type, if it is one.
    pub klass: Option<Arc<Klass>>,
    /// By name.
    pub fields: ByName<Field>,
}

/// A field of an object type or interface.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub ty: TypeRef,
    /// Its arguments.
    pub args: Vec<Argument>,
    /// What it is.
    pub description: Option<Text>,
    /// Why one should no longer use it.
    pub deprecated: Option<Text>,
    /// What it means: what `plan` compiles. For an interface, the object type's own field tells.
    pub means: Meaning,
}

/// An argument or an input object's field.
#[derive(Clone, Debug)]
pub struct Argument {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub ty: TypeRef,
    /// Its default.
    pub default: Option<async_graphql_value::ConstValue>,
    /// What it is.
    pub description: Option<Text>,
    /// Why one should no longer use it.
    pub deprecated: Option<Text>,
    /// What it means within an input object.
    pub means: InputMeaning,
}

/// A type as it is written: `[Order!]!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeRef {
    /// `Order`.
    Named(Name),
    /// `[…]`.
    List(Box<TypeRef>),
    /// `…!`.
    NonNull(Box<TypeRef>),
}

/// A union.
#[derive(Debug)]
pub struct UnionType {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub description: Option<Text>,
    /// Names of its object types.
    pub members: Vec<Name>,
}

/// An enum.
#[derive(Debug)]
pub struct EnumType {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub description: Option<Text>,
    /// By legal name.
    pub values: ByName<EnumValue>,
}

/// A value of an enum.
#[derive(Debug)]
pub struct EnumValue {
    /// What it is.
    pub description: Option<Text>,
    /// Why one should no longer use it.
    pub deprecated: Option<Text>,
    /// What it means.
    pub means: EnumMeaning,
}

/// What an enum's value means.
#[derive(Clone, Debug)]
pub enum EnumMeaning {
    /// The stored value of a property's enum.
    Stored(String),
    /// A member of `<Klass>GroupKey`: a property, or the object at a to-one end.
    GroupProperty(Arc<Property>),
    /// See above.
    GroupReference(Arc<End>),
    /// A property of the object at a to-one end: `customer_gender`.
    GroupThrough(Arc<End>, Arc<Property>),
    /// A width of date buckets.
    Bucket(Bucket),
    /// Its name says it (`ASC`, `ADDED`, …).
    Plain,
}

/// An input object.
#[derive(Debug)]
pub struct InputType {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub description: Option<Text>,
    /// Exactly one field must be given (`@oneOf`).
    pub one_of: bool,
    /// The klass that it speaks of (filters, orders, inputs).
    pub klass: Option<Arc<Klass>>,
    /// By name.
    pub fields: ByName<Argument>,
}

/// A scalar.
#[derive(Debug)]
pub struct ScalarType {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub description: Option<Text>,
    /// `@specifiedBy`.
    pub specified_by: Option<String>,
    /// One of the five that every schema has.
    pub built_in: bool,
}

/// What an object type's field means.
#[derive(Clone, Debug)]
pub enum Meaning {
    // ---- Query
    /// `order(id:, externalId:, orderNumber:)`: one object by exactly one key; each argument's [`InputMeaning`] tells which.
    ByKey(Arc<Klass>),
    /// `orders(filter:, search:, orderBy:, first:, after:, last:, before:, withDeleted:)`.
    Connection(Arc<Klass>),
    /// `node(id:)`.
    Node,
    /// `nodes(ids:)`.
    Nodes,
    /// `object(klass:, id:, externalId:)`.
    ObjectOf,
    /// `klass(name:)`: a definition.
    KlassByName,
    /// `klasses`: all definitions.
    Klasses,
    /// `viewer`: who asks.
    Viewer,

    // ---- an object of a klass
    /// A property's value. For money, actor and object kinds the type has fields of its own ([`Meaning::Part`]).
    Property(Arc<Property>),
    /// A to-one end.
    One(Arc<End>),
    /// A to-many end: a connection. Its klass is the named one (a polymorphic end has a field for each klass: `linkedOrders`).
    Many(Arc<End>, Arc<Klass>),
    /// `title`: made from the klass's title template.
    Title,
    /// `klass`: its definition.
    KlassOf,
    /// `customer.timeline(…)`.
    Timeline,

    // ---- a connection
    /// `nodes`.
    ConnectionNodes,
    /// `edges`.
    Edges,
    /// `pageInfo`.
    PageInfo,
    /// `totalCount`.
    TotalCount,
    /// `cursor`: the log's position as of this page.
    LogCursor,
    /// `aggregate`.
    Aggregate,
    /// `groups(by:, bucket:, zone:, having:, orderBy:, first:)`.
    Groups,
    /// An edge's `node`.
    EdgeNode,
    /// An edge's `cursor`.
    EdgeCursor,
    /// An edge's property of the link.
    LinkProperty(Arc<Property>),
    /// A timeline edge's own `at`, `kind`, `channel`; and the fields of an entry type that stands for no object (by name).
    TimelineField(&'static str),
    /// A field of `PageInfo`, by name.
    PageInfoField(&'static str),

    // ---- an aggregate
    /// `count`.
    Count,
    /// `sum { … }`, `avg { … }`: an object with a field per property.
    Function(AggregateFunctionName),
    /// One of those fields; of `percentile`, with the argument `p`.
    FunctionOf(AggregateFunctionName, Arc<Property>),
    /// A group's `key { … }`: an object with a field per groupable property or end.
    GroupKeys,
    /// A field of it.
    GroupKeyProperty(Arc<Property>),
    /// A field of it: the object at a to-one end.
    GroupKeyReference(Arc<End>),
    /// A field of it: a property of the object at a to-one end.
    GroupKeyThrough(Arc<End>, Arc<Property>),
    /// A group's `aggregate`.
    GroupAggregate,
    /// A group's `count`.
    GroupCount,

    /// A part of a value that the parent field's own JSON holds: `amount`, `currency`, `kind`, or an object kind's part.
    Part(String),

    // ---- Mutation: each an entry of [`Write`]
    /// A mutation.
    Write(Write),
    /// `beat(of:, activity:)`: a mutation of nothing that is stored.
    Beat,
    /// A field of a payload, an error, a klass definition or another record that `execute` builds in memory, by name.
    Record(&'static str),

    // ---- Subscription
    /// `orderChanged(id:, filter:, after:)`.
    Changed(Arc<Klass>),
    /// `timeline(customer:, after:, kinds:, channels:)`.
    TimelineChanged,
    /// `conversation(id:, after:)`: everything about one conversation.
    ConversationChanged,
    /// `klassChanged(after:)`.
    KlassChanged,
    /// `presence(of:)`: who is at an object.
    PresenceState,
    /// `customerState(id:)`; the klass is the customer's.
    CustomerState(Arc<Klass>),
    /// `ordersCount(filter:, search:)`.
    Counted(Arc<Klass>),
}

/// [`AggregateFunction`] without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in the schema")]
pub enum AggregateFunctionName {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
    Percentile,
}

impl AggregateFunctionName {
    /// The function; `p` is read only for a percentile.
    pub fn with(self, p: f64) -> AggregateFunction {
        match self {
            Self::Count => AggregateFunction::Count,
            Self::CountDistinct => AggregateFunction::CountDistinct,
            Self::Sum => AggregateFunction::Sum,
            Self::Avg => AggregateFunction::Avg,
            Self::Min => AggregateFunction::Min,
            Self::Max => AggregateFunction::Max,
            Self::Percentile => AggregateFunction::Percentile(p),
        }
    }
}

/// What a mutation does.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as in the schema")]
pub enum Write {
    Create(Arc<Klass>),
    Update(Arc<Klass>),
    Upsert(Arc<Klass>),
    Delete(Arc<Klass>),
    Restore(Arc<Klass>),
    Destroy(Arc<Klass>),
    CreateMany(Arc<Klass>),
    UpsertMany(Arc<Klass>),
    UpdateMany(Arc<Klass>),
    DeleteMany(Arc<Klass>),
    /// `linkOrderProducts(id:, to:, …)`: only for to-many ends.
    Link(Arc<Klass>, Arc<End>),
    Unlink(Arc<Klass>, Arc<End>),
    DefineKlass,
    ChangeKlass,
    DisableKlass,
    EnableKlass,
}

/// What an argument or a field of an input object means.
#[derive(Clone, Debug)]
pub enum InputMeaning {
    /// Its name says it (`first`, `after`, `version`, …).
    Plain,
    /// A unique property as a key (`externalId`, `orderNumber`); `id` too.
    Key(Arc<Property>),
    /// A contact point as a key.
    ContactKey(filter::ContactKind),
    /// In a filter: `and`, `or`, `not`.
    And,
    /// See above.
    Or,
    /// See above.
    Not,
    /// In a filter: a target; the field's type holds the operators.
    Target(filter::Target),
    /// In a filter of operators: one of them.
    Operator(filter::Op),
    /// `between: {from, to}`: both inclusive.
    Between,
    /// `withinLast: "P7D"`: from now less that, to now. Resolved to a `Gte` and a `Lte` against constants of the run.
    WithinLast,
    /// `withinNext`.
    WithinNext,
    /// In a filter: a part of a money, JSON or object target (`amount`, `currency`, `path`).
    TargetPart(String),
    /// In a filter: a to-one end (its filter), to this klass.
    ToOne(Arc<End>, Arc<Klass>),
    /// In a filter: a to-many end (`some every none count`), to this klass.
    ToMany(Arc<End>, Arc<Klass>),
    /// In a to-many filter.
    Quantifier(filter::Quantifier),
    /// In a to-many filter: `count: {filter, eq, gt, …}`.
    CountOf,
    /// In an order: a property.
    OrderProperty(Arc<Property>),
    /// In an order: a to-one end (its klass's order).
    OrderThrough(Arc<End>, Arc<Klass>),
    /// In an order: the number at a to-many end.
    OrderCount(Arc<End>),
    /// In an order of objects at an end: by the link to them; its fields are [`InputMeaning::OrderLinkProperty`].
    OrderLink,
    /// See above.
    OrderLinkProperty(Arc<Property>),
    /// In an input: a property's value.
    Value(Arc<Property>),
    /// In an input: a part of an object kind's value.
    ValuePart(String),
    /// In an input: links at an end; the field's type holds `connect create upsert disconnect`, for polymorphic ends by klass.
    Links(Arc<End>),
    /// In links: to an object of this klass (polymorphic ends).
    LinkKlass(Arc<Klass>),
    /// In a link: a property of the link.
    LinkValue(Arc<Property>),
    /// In a having: `count: {gt, …}`.
    HavingCount,
    /// In a having: `sum: {total: {gt, …}}`; its fields are [`InputMeaning::HavingProperty`].
    HavingFunction(AggregateFunctionName),
    /// See above; the field's type holds [`InputMeaning::Operator`]s.
    HavingProperty(Arc<Property>),
    /// In a having: conditions on a percentile of a property, each with the `p` that says which; besides, the field's type holds
    /// [`InputMeaning::Operator`]s.
    HavingPercentile(Arc<Property>),
    /// In an order of groups: by their count.
    GroupOrderCount,
    /// In an order of groups: by a key, `{by, direction}`.
    GroupOrderKey,
    /// In an order of groups: `sum: {total: DESC}`; its fields are [`InputMeaning::GroupOrderProperty`].
    GroupOrderFunction(AggregateFunctionName),
    /// See above.
    GroupOrderProperty(Arc<Property>),
    /// In an order of groups: by a percentile of a property, `{p, direction}`.
    GroupOrderPercentile(Arc<Property>),
    /// In a filter over linked objects: conditions on the link ([`filter::Target::Link`]).
    LinkFilter,
    /// In a filter over linked objects: conditions on the far object.
    FarFilter,
}

impl TypeRef {
    /// `Order`.
    pub fn named(name: impl Into<Name>) -> Self {
        Self::Named(name.into())
    }
    /// `[self]`.
    pub fn list(self) -> Self {
        Self::List(Box::new(self))
    }
    /// `self!`; a type that is non-null already stays.
    pub fn required(self) -> Self {
        match self {
            Self::NonNull(_) => self,
            other => Self::NonNull(Box::new(other)),
        }
    }
    /// The innermost name.
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::List(inner) | Self::NonNull(inner) => inner.name(),
        }
    }
    /// Null is not a value of it.
    pub fn is_required(&self) -> bool {
        matches!(self, Self::NonNull(_))
    }
    /// Without an outer `!`.
    pub fn nullable(&self) -> &Self {
        match self {
            Self::NonNull(inner) => inner,
            other => other,
        }
    }
}

impl std::fmt::Display for TypeRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::List(inner) => write!(f, "[{inner}]"),
            Self::NonNull(inner) => write!(f, "{inner}!"),
        }
    }
}

impl Types {
    /// The object type or interface of this name.
    pub fn object(&self, name: &str) -> Option<&ObjectType> {
        match self.types.get(name) {
            Some(Type::Object(it)) => Some(it),
            _ => None,
        }
    }
    /// The input object of this name.
    pub fn input(&self, name: &str) -> Option<&InputType> {
        match self.types.get(name) {
            Some(Type::Input(it)) => Some(it),
            _ => None,
        }
    }
    /// The enum of this name.
    pub fn enumeration(&self, name: &str) -> Option<&EnumType> {
        match self.types.get(name) {
            Some(Type::Enum(it)) => Some(it),
            _ => None,
        }
    }
    /// The object types that an abstract type may be, by name; an object type is itself.
    pub fn possible(&self, name: &str) -> Vec<&ObjectType> {
        match self.types.get(name) {
            Some(Type::Object(it)) if !it.interface => vec![it],
            Some(Type::Object(it)) => self
                .types
                .values()
                .filter_map(|t| match t {
                    Type::Object(o) if !o.interface && o.implements.contains(&it.name) => Some(o),
                    _ => None,
                })
                .collect(),
            Some(Type::Union(it)) => it.members.iter().filter_map(|m| self.object(m)).collect(),
            _ => Vec::new(),
        }
    }
}

impl Field {
    /// A field without arguments.
    pub fn new(name: impl Into<Name>, ty: TypeRef, means: Meaning, description: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            ty,
            args: Vec::new(),
            description: Some(description.into()),
            deprecated: None,
            means,
        }
    }
    /// With these arguments.
    pub fn args(mut self, args: Vec<Argument>) -> Self {
        self.args = args;
        self
    }
    /// The argument of this name.
    pub fn arg(&self, name: &str) -> Option<&Argument> {
        self.args.iter().find(|a| a.name == name)
    }
}

impl Argument {
    /// An argument or input field without a default.
    pub fn new(name: impl Into<Name>, ty: TypeRef, means: InputMeaning, description: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            ty,
            default: None,
            description: Some(description.into()),
            deprecated: None,
            means,
        }
    }
    /// One whose name says what it means.
    pub fn plain(name: impl Into<Name>, ty: TypeRef, description: impl Into<Text>) -> Self {
        Self::new(name, ty, InputMeaning::Plain, description)
    }
    /// With this default.
    pub fn or(mut self, default: impl Into<async_graphql_value::ConstValue>) -> Self {
        self.default = Some(default.into());
        self
    }
}

impl Type {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Object(it) => &it.name,
            Self::Union(it) => &it.name,
            Self::Enum(it) => &it.name,
            Self::Input(it) => &it.name,
            Self::Scalar(it) => &it.name,
        }
    }
}
