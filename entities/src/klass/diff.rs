//! What differs between two registries, and what each difference means for clients and for data.
//!
//! **Safe**: no client notices. **Dangerous**: a client may notice (a value it does not know, a write that is refused). **Breaking**: a document
//! that was valid no longer is, or data is lost. "Breaking" follows the GraphQL reference implementation's list of breaking changes.

use std::sync::Arc;

use serde::Serialize;

use super::registry::CustomerLink;
use super::relationship::{Cardinality, Link, OnDelete, Side};
use super::{End, Klass, Property, Registry, Relationship};

mod property;

pub(crate) use property::tightened;

/// How a change bears on clients and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Class {
    /// No client notices.
    Safe,
    /// A client may notice.
    Dangerous,
    /// A client breaks, or data is lost.
    Breaking,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where: `["order", "properties", "total"]`, by names as written.
    pub path: Vec<String>,
    /// How it bears on clients and data.
    pub class: Class,
    /// What differs, in a sentence.
    pub message: String,
    /// The same for a program.
    pub kind: ChangeKind,
}

/// What differs. Where two things are given, the first is how it was.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "named as what they are")]
pub enum ChangeKind {
    KlassAdded(Arc<Klass>),
    /// Only when definitions are taken out of the store by hand.
    KlassRemoved(Arc<Klass>),
    KlassEnabled(Arc<Klass>),
    KlassDisabled(Arc<Klass>),
    /// Labels, title, icon, views: what front ends show.
    KlassDescribed(Arc<Klass>),
    PluralChanged(Arc<Klass>, Arc<Klass>),
    TimelineChanged(Arc<Klass>, Arc<Klass>),
    /// Its objects move to other streams.
    CustomerLinkChanged(Arc<Klass>, Arc<Klass>),
    PropertyAdded(Arc<Klass>, Arc<Property>),
    PropertyRemoved(Arc<Klass>, Arc<Property>),
    /// Same column, another name.
    PropertyRenamed(Arc<Klass>, Arc<Property>, Arc<Property>),
    /// An old name no longer works.
    AliasRemoved(Arc<Klass>, String),
    /// Another kind; the columns differ when the storage does.
    KindChanged(Arc<Klass>, Arc<Property>, Arc<Property>),
    /// Values, paths or parts that were possible no longer are: rows must be looked at.
    KindNarrowed(Arc<Klass>, Arc<Property>, Arc<Property>),
    /// More values, paths or parts.
    KindWidened(Arc<Klass>, Arc<Property>, Arc<Property>),
    RequiredAdded(Arc<Klass>, Arc<Property>),
    RequiredDropped(Arc<Klass>, Arc<Property>),
    UniqueAdded(Arc<Klass>, Arc<Property>),
    UniqueDropped(Arc<Klass>, Arc<Property>),
    IndexAdded(Arc<Klass>, Arc<Property>),
    IndexDropped(Arc<Klass>, Arc<Property>),
    SearchableChanged(Arc<Klass>, Arc<Property>),
    SensitiveChanged(Arc<Klass>, Arc<Property>),
    DefaultChanged(Arc<Klass>, Arc<Property>),
    /// Rows that were good may no longer be.
    ValidationTightened(Arc<Klass>, Arc<Property>),
    ValidationLoosened(Arc<Klass>, Arc<Property>),
    Deprecated(Arc<Klass>, Arc<Property>),
    PropertyDescribed(Arc<Klass>, Arc<Property>),
    RelationshipAdded(Arc<Relationship>),
    RelationshipRemoved(Arc<Relationship>),
    RelationshipRenamed(Arc<Relationship>, Arc<Relationship>),
    /// Kept elsewhere (column, link table, another klass): links are lost unless they are moved.
    RelationshipMoved(Arc<Relationship>, Arc<Relationship>),
    CardinalityChanged(Arc<Relationship>, Arc<Relationship>),
    TargetsChanged(Arc<Relationship>, Arc<Relationship>),
    LinkRequiredAdded(Arc<Relationship>),
    LinkRequiredDropped(Arc<Relationship>),
    OnDeleteChanged(Arc<Relationship>),
    RelationshipDescribed(Arc<Relationship>),
    /// (One that changes is told as a klass's property is, under its own path.)
    LinkPropertyAdded(Arc<Relationship>, Arc<Property>),
    LinkPropertyRemoved(Arc<Relationship>, Arc<Property>),
}

/// What differs, klass by klass in the order of the new registry.
pub fn diff(old: &Registry, new: &Registry) -> Vec<Change> {
    let mut out = Differ::default();
    for klass in &new.klasses {
        match old.klass(&klass.name) {
            Some(before) if before == klass => {}
            Some(before) => out.klass(before, klass),
            None => {
                let what = format!(
                    "The klass `{}` is new, with {}.",
                    klass.name,
                    count(own(klass).count(), "property", "properties")
                );
                out.push(&[&klass.name], Class::Safe, what, ChangeKind::KlassAdded(klass.clone()));
            }
        }
    }
    for klass in old.klasses.iter().filter(|k| new.klass(&k.name).is_none()) {
        let what = format!("The klass `{}` is gone with all its objects.", klass.name);
        out.push(&[&klass.name], Class::Breaking, what, ChangeKind::KlassRemoved(klass.clone()));
    }
    out.relationships(old, new);
    out.0
}

fn own(klass: &Klass) -> impl Iterator<Item = &Arc<Property>> {
    klass.properties.iter().filter(|p| !p.system)
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[derive(Default)]
struct Differ(Vec<Change>);

impl Differ {
    fn push(&mut self, path: &[&str], class: Class, message: impl Into<String>, kind: ChangeKind) {
        self.0.push(Change {
            path: path.iter().map(|s| (*s).to_owned()).collect(),
            class,
            message: message.into(),
            kind,
        });
    }

    fn klass(&mut self, old: &Arc<Klass>, new: &Arc<Klass>) {
        let name = new.name.as_str();
        match (old.enabled, new.enabled) {
            (false, true) => self.push(
                &[name],
                Class::Safe,
                format!("The schema shows `{name}` again."),
                ChangeKind::KlassEnabled(new.clone()),
            ),
            (true, false) => {
                let what = format!("The schema no longer shows `{name}`; its objects stay.");
                self.push(&[name], Class::Breaking, what, ChangeKind::KlassDisabled(new.clone()));
            }
            _ => {}
        }
        if old.legal.plural != new.legal.plural {
            let what = format!("The field `{}` becomes `{}`.", old.legal.plural, new.legal.plural);
            self.push(
                &[name, "plural"],
                Class::Breaking,
                what,
                ChangeKind::PluralChanged(old.clone(), new.clone()),
            );
        }
        let labels = |k: &Klass| {
            (
                k.title.clone(),
                k.display_name.clone(),
                k.description.clone(),
                k.icon.clone(),
                k.color.clone(),
                k.views.clone(),
            )
        };
        if labels(old) != labels(new) {
            let what = format!("Title, labels or views of `{name}` change.");
            self.push(&[name], Class::Safe, what, ChangeKind::KlassDescribed(new.clone()));
        }
        if old.timeline != new.timeline {
            let (class, what) = match (&old.timeline, &new.timeline) {
                (None, Some(_)) => (
                    Class::Dangerous,
                    format!("Objects of `{name}` appear on the timeline: entries of a new type."),
                ),
                (Some(_), None) => (Class::Breaking, format!("Objects of `{name}` leave the timeline.")),
                (_, Some(at)) => (
                    Class::Dangerous,
                    format!("Objects of `{name}` stand on the timeline at `{}`.", at.at),
                ),
                (None, None) => (Class::Safe, String::new()),
            };
            self.push(
                &[name, "timeline"],
                class,
                what,
                ChangeKind::TimelineChanged(old.clone(), new.clone()),
            );
        }
        if customer_column(old) != customer_column(new) {
            let what = format!("Objects of `{name}` belong to a customer in another way; streams begin anew.");
            self.push(
                &[name],
                Class::Dangerous,
                what,
                ChangeKind::CustomerLinkChanged(old.clone(), new.clone()),
            );
        }
        for property in own(new) {
            match counterpart(old, property) {
                Some(before) if before == property => {}
                Some(before) => self.property(&[name, "properties", &property.name], new, before, property),
                None => {
                    let class = if property.required && property.default.is_none() {
                        Class::Breaking
                    } else {
                        Class::Safe
                    };
                    let must = if class == Class::Breaking {
                        "; it is required and has no default, so who creates one must give it"
                    } else {
                        ""
                    };
                    let what = format!("The property `{}` of kind {} is new{must}.", property.legal, property.kind.name());
                    let kind = ChangeKind::PropertyAdded(new.clone(), property.clone());
                    self.push(&[name, "properties", &property.name], class, what, kind);
                }
            }
        }
        for property in own(old).filter(|p| !own(new).any(|q| counterpart(old, q).is_some_and(|c| Arc::ptr_eq(c, p)))) {
            let what = format!("The property `{}` is gone with its data.", property.legal);
            let kind = ChangeKind::PropertyRemoved(new.clone(), property.clone());
            self.push(&[name, "properties", &property.name], Class::Breaking, what, kind);
        }
    }

    fn relationships(&mut self, old: &Registry, new: &Registry) {
        let fresh = |r: &Relationship| old.klass(&r.klass).is_none();
        let mut met: Vec<&Arc<Relationship>> = Vec::new();
        for relationship in &new.relationships {
            match same_relationship(old, new, relationship) {
                Some(before) => {
                    met.push(before);
                    if before != relationship || ends(old, before) != ends(new, relationship) {
                        self.relationship(old, new, before, relationship);
                    }
                }
                None if fresh(relationship) => {} // said with its klass
                None => {
                    let class = if relationship.required { Class::Breaking } else { Class::Safe };
                    let what = format!("The relationship `{}` to {} is new.", relationship.name, relationship.to.join(", "));
                    let kind = ChangeKind::RelationshipAdded(relationship.clone());
                    self.push(&[&relationship.klass, "relationships", &relationship.name], class, what, kind);
                }
            }
        }
        for gone in old.relationships.iter().filter(|r| !met.iter().any(|m| Arc::ptr_eq(m, r))) {
            if new.klass(&gone.klass).is_none() {
                continue; // said with its klass
            }
            let what = format!("The relationship `{}` is gone with its links.", gone.name);
            let kind = ChangeKind::RelationshipRemoved(gone.clone());
            self.push(&[&gone.klass, "relationships", &gone.name], Class::Breaking, what, kind);
        }
    }

    fn relationship(&mut self, old_registry: &Registry, new_registry: &Registry, old: &Arc<Relationship>, new: &Arc<Relationship>) {
        let path = [new.klass.as_str(), "relationships", new.name.as_str()];
        let both = |k: fn(Arc<Relationship>, Arc<Relationship>) -> ChangeKind| k(old.clone(), new.clone());
        let (before, after) = (ends(old_registry, old), ends(new_registry, new));
        for side in [Side::From, Side::To] {
            if new.open && side == Side::To {
                self.open_ends(&before, &after);
                continue;
            }
            let of = |ends: &[Arc<End>]| ends.iter().find(|e| e.side == side).map(|e| (e.legal.clone(), e.aliases.clone()));
            if let (Some((was, old_aliases)), Some((is, aliases))) = (of(&before), of(&after)) {
                if was != is {
                    let kept = aliases.iter().any(|a| a.legal == was);
                    let class = if kept { Class::Safe } else { Class::Breaking };
                    let what = format!(
                        "`{was}` is called `{is}`{}.",
                        if kept { "; the old name works on, deprecated" } else { "" }
                    );
                    self.push(&path, class, what, both(ChangeKind::RelationshipRenamed));
                }
                for alias in old_aliases
                    .iter()
                    .filter(|a| a.legal != is && !aliases.iter().any(|b| b.legal == a.legal))
                {
                    if let Some(klass) = new_registry.klass(&new.klass) {
                        let what = format!("The old name `{}` no longer works.", alias.legal);
                        self.push(
                            &path,
                            Class::Breaking,
                            what,
                            ChangeKind::AliasRemoved(klass.clone(), alias.legal.clone()),
                        );
                    }
                }
            }
        }
        if (old.cardinality, old.inverse_cardinality) != (new.cardinality, new.inverse_cardinality) {
            let say = |r: &Relationship| format!("{} to {}", word(r.inverse_cardinality), word(r.cardinality));
            let what = format!("`{}` was {} and is {}.", new.name, say(old), say(new));
            self.push(&path, Class::Breaking, what, both(ChangeKind::CardinalityChanged));
        }
        if old.link != new.link {
            let what = format!("The links of `{}` are kept in another place.", new.name);
            self.push(&path, Class::Breaking, what, both(ChangeKind::RelationshipMoved));
        }
        // What leads to every klass follows them; that is said with the klass.
        if old.to != new.to && !(old.open && new.open) {
            let gone = old.to.iter().any(|t| !new.to.contains(t));
            let class = if gone || old.to.len() == 1 {
                Class::Breaking
            } else {
                Class::Dangerous
            };
            let what = format!("`{}` leads to {} instead of {}.", new.name, new.to.join(", "), old.to.join(", "));
            self.push(&path, class, what, both(ChangeKind::TargetsChanged));
        }
        if !old.required && new.required {
            let what = format!("`{}` becomes required.", new.name);
            self.push(&path, Class::Breaking, what, ChangeKind::LinkRequiredAdded(new.clone()));
        } else if old.required && !new.required {
            let what = format!("`{}` may be null.", new.name);
            self.push(&path, Class::Breaking, what, ChangeKind::LinkRequiredDropped(new.clone()));
        }
        if old.on_delete != new.on_delete {
            let then = match new.on_delete {
                OnDelete::Restrict => "is refused while there are links",
                OnDelete::Unlink => "takes the links away",
                OnDelete::Cascade => "deletes what points to it, too",
            };
            let what = format!("A delete of what `{}` leads to {then}.", new.name);
            self.push(&path, Class::Dangerous, what, ChangeKind::OnDeleteChanged(new.clone()));
        }
        for property in &new.properties {
            let path = [path[0], path[1], path[2], "properties", property.name.as_str()];
            let found = link_counterpart(&old.properties, property);
            match (found, new_registry.klass(&new.klass)) {
                (Some(before), _) if before == property => {}
                (Some(before), Some(klass)) => self.property(&path, klass, before, property),
                // A registry's relationships are declared by klasses that exist.
                (Some(_), None) => {}
                (None, _) => {
                    let class = if property.required && property.default.is_none() {
                        Class::Breaking
                    } else {
                        Class::Safe
                    };
                    let what = format!("The property `{}` of the link is new.", property.legal);
                    self.push(&path, class, what, ChangeKind::LinkPropertyAdded(new.clone(), property.clone()));
                }
            }
        }
        for gone in &old.properties {
            let stays = |p: &Arc<Property>| link_counterpart(&old.properties, p).is_some_and(|was| Arc::ptr_eq(was, gone));
            if !new.properties.iter().any(stays) {
                let path = [path[0], path[1], path[2], "properties", gone.name.as_str()];
                let what = format!("The property `{}` of the link is gone with its data.", gone.legal);
                self.push(
                    &path,
                    Class::Breaking,
                    what,
                    ChangeKind::LinkPropertyRemoved(new.clone(), gone.clone()),
                );
            }
        }
        let descriptions = |r: &Relationship, ends: &[Arc<End>]| {
            (
                r.description.clone(),
                ends.iter()
                    .map(|e| (e.description.clone(), e.deprecated.clone()))
                    .collect::<Vec<_>>(),
            )
        };
        if descriptions(old, &before) != descriptions(new, &after) && old.to == new.to && !new.open {
            let what = format!("Description or deprecation of `{}` changes.", new.name);
            self.push(&path, Class::Safe, what, ChangeKind::RelationshipDescribed(new.clone()));
        }
    }

    /// The other ends of a relationship that leads to every klass: one gives way to what a klass has of that name itself.
    fn open_ends(&mut self, before: &[Arc<End>], after: &[Arc<End>]) {
        for end in after.iter().filter(|e| e.side == Side::To) {
            let was = before.iter().find(|e| e.side == Side::To && e.klass == end.klass);
            if let Some(was) = was.filter(|was| was.legal != end.legal) {
                let what = format!(
                    "The other end of `{}.{}` is called `{}` here instead of `{}`: it gives way to what the klass has of that name itself.",
                    end.relationship.klass, end.relationship.name, end.legal, was.legal
                );
                let kind = ChangeKind::RelationshipRenamed(was.relationship.clone(), end.relationship.clone());
                self.push(&[&end.klass, "relationships", &end.legal], Class::Breaking, what, kind);
            }
        }
    }
}

fn word(cardinality: Cardinality) -> &'static str {
    match cardinality {
        Cardinality::One => "one",
        Cardinality::Many => "many",
    }
}

/// The column that says to which customer an object belongs; a rename leaves it as it is.
fn customer_column(klass: &Klass) -> Option<String> {
    match &klass.customer {
        CustomerLink::Through(end) => klass.end(end).map(|e| place(&e.relationship.link)),
        CustomerLink::Itself => Some("id".into()),
        CustomerLink::None => None,
    }
}

/// What the property was: by its name as written, by its column, by a name that it used to have.
fn counterpart<'a>(old: &'a Klass, property: &Property) -> Option<&'a Arc<Property>> {
    own(old)
        .find(|p| p.name == property.name)
        .or_else(|| own(old).find(|p| p.column == property.column && p.home == property.home))
        .or_else(|| own(old).find(|p| property.aliases.iter().any(|a| a.legal == p.legal)))
}

/// The same for a property of a link, among those that the links had.
fn link_counterpart<'a>(old: &'a [Arc<Property>], property: &Property) -> Option<&'a Arc<Property>> {
    let by = |same: &dyn Fn(&Property) -> bool| old.iter().find(|p| same(p));
    by(&|p| p.name == property.name)
        .or_else(|| by(&|p| p.column == property.column))
        .or_else(|| by(&|p| property.aliases.iter().any(|a| a.legal == p.legal)))
}

/// What the relationship was: by klass and name, by where its links are, by a name that it used to have.
fn same_relationship<'a>(old: &'a Registry, new: &Registry, relationship: &Relationship) -> Option<&'a Arc<Relationship>> {
    let of_klass = || old.relationships.iter().filter(|r| r.klass == relationship.klass);
    of_klass()
        .find(|r| r.name == relationship.name)
        .or_else(|| of_klass().find(|r| place(&r.link) == place(&relationship.link)))
        .or_else(|| {
            let end = new
                .klass(&relationship.klass)?
                .ends
                .iter()
                .find(|e| e.side == Side::From && *e.relationship == *relationship)?;
            of_klass().find(|r| end.aliases.iter().any(|a| a.legal == r.name))
        })
}

fn place(link: &Link) -> String {
    match link {
        Link::Column { column, home, .. } => format!("{home:?}.{column}"),
        Link::Table { table } => format!("table {}", table.name),
    }
}

/// The ends of a relationship, the declaring side first.
fn ends(registry: &Registry, relationship: &Arc<Relationship>) -> Vec<Arc<End>> {
    let mut out: Vec<_> = registry
        .klasses
        .iter()
        .flat_map(|k| &k.ends)
        .filter(|e| Arc::ptr_eq(&e.relationship, relationship))
        .cloned()
        .collect();
    out.sort_by_key(|e| e.side == Side::To);
    out
}
