//! Which objects: one [`Filter`], two readers: SQL (`store/sql/`) for queries, memory ([`super::filter_memory`]) for live streams.
//!
//! **Two-valued.** A comparison is true or false, never unknown: where the target is null it is false, but for [`Op::Ne`],
//! [`Op::NotIn`] and [`Op::HasNone`], which a null target matches. So [`Filter::Not`] is plain negation: `not (total > 5)` holds for an
//! object without a total. Both readers keep to this.

use std::sync::Arc;

use super::{End, Kind, Klass, Property, Value};

/// A condition on an object of a klass.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All of these (none: true).
    And(Vec<Filter>),
    /// Any of these (none: false).
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// A property against an operand.
    Compare {
        /// What is compared.
        target: Target,
        /// How.
        op: Op,
        /// With what. [`Op::IsNull`] takes a boolean.
        operand: Operand,
    },
    /// Objects at the other end of a relationship. Soft-deleted ones do not count.
    Related {
        /// The relationship, seen from here.
        end: Arc<End>,
        /// Klass on the far side (one of `end.to`).
        klass: Arc<Klass>,
        /// How many must match.
        quantifier: Quantifier,
        /// What they must match.
        filter: Box<Filter>,
    },
    /// Items of a list that an object holds itself: of objects with parts, or of money.
    Items {
        /// The list.
        of: Box<Target>,
        /// How many must match.
        quantifier: Quantifier,
        /// What they must match: its targets are parts of [`Base::Item`].
        filter: Box<Filter>,
    },
    /// How many objects at the other end of a relationship match.
    Count {
        /// The relationship, seen from here.
        end: Arc<End>,
        /// Klass on the far side.
        klass: Arc<Klass>,
        /// Which are counted.
        filter: Box<Filter>,
        /// `Eq Ne Gt Gte Lt Lte`.
        op: Op,
        /// An integer.
        operand: Operand,
    },
}

/// What a filter compares.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A property's value. (Money as a whole compares amounts; say a part to compare one.)
    Property(Arc<Property>),
    /// The amount of a money property: a decimal.
    Amount(Arc<Property>),
    /// The currency of a money property: a string.
    Currency(Arc<Property>),
    /// A place in a JSON value, as text (`->>`), or as a number where the operand is one.
    Path(Base, Vec<String>),
    /// A part of a value with parts, by names from the outside in (none: the value itself): compared as its kind says.
    Part(Base, Vec<String>, Box<Kind>),
    /// A property of the link through which the object was reached (only within [`Filter::Related`] over a link table).
    Link(Arc<Property>),
    /// The currency of a link's money property: a string. ([`Target::Link`] compares the amount.)
    LinkCurrency(Arc<Property>),
    /// The far object's id of a to-one end: `customer: {id: {eq}}` without a join.
    Reference(Arc<End>),
    /// Any of a customer's contact points of a kind, normalised (`email`: lower case; `phone`: + and digits). Ops: `Eq In`.
    Contact(ContactKind),
}

/// In what a part or a place is looked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    /// A property's value.
    Property(Arc<Property>),
    /// The value of a property of the link.
    Link(Arc<Property>),
    /// The item at hand (only within [`Filter::Items`]).
    Item,
}

impl Target {
    /// The property that is looked at, if it is one.
    pub fn property(&self) -> Option<&Arc<Property>> {
        match self {
            Target::Property(p)
            | Target::Amount(p)
            | Target::Currency(p)
            | Target::Link(p)
            | Target::LinkCurrency(p)
            | Target::Path(Base::Property(p) | Base::Link(p), _)
            | Target::Part(Base::Property(p) | Base::Link(p), ..) => Some(p),
            Target::Path(Base::Item, _) | Target::Part(Base::Item, ..) | Target::Reference(_) | Target::Contact(_) => None,
        }
    }

    /// A part of it, by name; `None` where it has none of that name.
    pub fn part(&self, name: &str) -> Option<Target> {
        let (base, path, kind) = match self {
            Target::Property(p) if p.kind == Kind::Money => {
                return match name {
                    "amount" => Some(Target::Amount(p.clone())),
                    "currency" => Some(Target::Currency(p.clone())),
                    _ => None,
                };
            }
            Target::Link(p) if p.kind == Kind::Money => {
                return match name {
                    "amount" => Some(self.clone()),
                    "currency" => Some(Target::LinkCurrency(p.clone())),
                    _ => None,
                };
            }
            Target::Property(p) => (Base::Property(p.clone()), [].as_slice(), &p.kind),
            Target::Link(p) => (Base::Link(p.clone()), [].as_slice(), &p.kind),
            Target::Part(base, path, kind) => (base.clone(), path.as_slice(), &**kind),
            Target::Amount(_)
            | Target::Currency(_)
            | Target::LinkCurrency(_)
            | Target::Path(..)
            | Target::Reference(_)
            | Target::Contact(_) => {
                return None;
            }
        };
        let mut path = path.to_vec();
        let kind = match kind {
            // The value as a whole compares amounts.
            Kind::Money if name == "amount" => Kind::Money,
            Kind::Money if name == "currency" => {
                path.push(name.to_owned());
                Kind::String
            }
            Kind::Object(kind) => {
                path.push(name.to_owned());
                kind.parts.iter().find(|part| part.name == name)?.kind.clone()
            }
            _ => return None,
        };
        Some(Target::Part(base, path, Box::new(kind)))
    }

    /// A place in it, where it is free JSON.
    pub fn place(&self, steps: Vec<String>) -> Option<Target> {
        let (base, mut path) = match self {
            Target::Property(p) if p.kind == Kind::Json => (Base::Property(p.clone()), Vec::new()),
            Target::Link(p) if p.kind == Kind::Json => (Base::Link(p.clone()), Vec::new()),
            Target::Part(base, path, kind) if **kind == Kind::Json => (base.clone(), path.clone()),
            _ => return None,
        };
        path.extend(steps);
        Some(Target::Path(base, path))
    }

    /// The kind of what is compared, where it is one of those that properties have.
    pub fn kind(&self) -> Option<&Kind> {
        match self {
            Target::Property(p) | Target::Link(p) => Some(&p.kind),
            Target::Part(_, _, kind) => Some(kind),
            _ => None,
        }
    }
}

/// Kinds of contact points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContactKind {
    /// By e-mail address.
    Email,
    /// By telephone number.
    Phone,
    /// By another system's id (`externalIds`).
    ExternalId,
}

/// How a target is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in the schema")]
pub enum Op {
    Eq,
    /// Not equal; null is not equal to anything, so a null target matches.
    Ne,
    /// Operand: a list.
    In,
    /// Operand: a list; a null target matches.
    NotIn,
    /// Operand: a boolean.
    IsNull,
    Gt,
    Gte,
    Lt,
    Lte,
    /// Text; `fold`: without regard to case (Unicode lower case).
    Contains {
        fold: bool,
    },
    StartsWith {
        fold: bool,
    },
    EndsWith {
        fold: bool,
    },
    /// A regular expression, matching anywhere.
    Matches {
        fold: bool,
    },
    /// Equal without regard to case.
    EqFold,
    /// Lists: at least one of the operand's items.
    HasAny,
    /// Lists: all of the operand's items.
    HasAll,
    /// Lists: none of the operand's items; a null list matches.
    HasNone,
    /// Trees: at the operand or below it.
    Under,
    /// Locations (lists of objects with latitude, longitude): within km of a point. Operand: list [latitude, longitude, km] of decimals.
    Near,
}

/// How many related objects must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantifier {
    /// At least one. A to-one relationship uses this.
    Some,
    /// All there are (true when there are none).
    Every,
    /// Not one.
    None,
}

/// What a target is compared with: known when the plan is made, or given with each run.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// Known.
    Const(Value),
    /// The argument at this index of a run's arguments.
    Arg(usize),
}

impl Operand {
    /// The value, given a run's arguments. A missing argument is null (cannot happen for a compiled plan).
    pub fn value<'a>(&'a self, args: &'a [Value]) -> &'a Value {
        match self {
            Operand::Const(value) => value,
            Operand::Arg(i) => args.get(*i).unwrap_or(&Value::Null),
        }
    }
}
