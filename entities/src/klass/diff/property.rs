//! How a property differs from what it was.

use std::sync::Arc;

use super::{ChangeKind, Class, Differ};
use crate::klass::kind::{EnumKind, ObjectKind};
use crate::klass::{Kind, Klass, Property};

impl Differ {
    /// `path`: of the property, by names as written.
    pub(super) fn property(&mut self, path: &[&str], klass: &Arc<Klass>, old: &Arc<Property>, new: &Arc<Property>) {
        let of = |k: fn(Arc<Klass>, Arc<Property>) -> ChangeKind| k(klass.clone(), new.clone());
        let both = |k: fn(Arc<Klass>, Arc<Property>, Arc<Property>) -> ChangeKind| k(klass.clone(), old.clone(), new.clone());
        let legal = &new.legal;
        if old.legal != new.legal {
            // the old name works on, but a type that is named after the property does not
            let named_after = matches!(
                new.kind.item(),
                Kind::Enum(EnumKind { type_name: None, .. }) | Kind::Object(ObjectKind { type_name: None, .. })
            );
            let class = if named_after { Class::Dangerous } else { Class::Safe };
            let what = format!("`{}` is called `{legal}`; the old name works on, deprecated.", old.legal);
            self.push(path, class, what, both(ChangeKind::PropertyRenamed));
        }
        for alias in old
            .aliases
            .iter()
            .filter(|a| a.legal != *legal && !new.aliases.iter().any(|b| b.legal == a.legal))
        {
            let what = format!("The old name `{}` no longer works.", alias.legal);
            self.push(
                path,
                Class::Breaking,
                what,
                ChangeKind::AliasRemoved(klass.clone(), alias.legal.clone()),
            );
        }
        for (class, message, kind) in kinds(old, new) {
            self.push(path, class, message, both(kind));
        }
        if !old.required && new.required {
            let class = if new.default.is_some() { Class::Dangerous } else { Class::Breaking };
            self.push(path, class, format!("`{legal}` becomes required."), of(ChangeKind::RequiredAdded));
        } else if old.required && !new.required {
            self.push(
                path,
                Class::Breaking,
                format!("`{legal}` may be null."),
                of(ChangeKind::RequiredDropped),
            );
        }
        if !old.unique && new.unique {
            let what = format!("`{legal}` becomes unique: a write that repeats a value is refused.");
            self.push(path, Class::Dangerous, what, of(ChangeKind::UniqueAdded));
        } else if old.unique && !new.unique {
            let what = format!("`{legal}` is no longer unique, so no longer a key.");
            self.push(path, Class::Breaking, what, of(ChangeKind::UniqueDropped));
        }
        if !old.indexed && new.indexed {
            self.push(path, Class::Safe, format!("`{legal}` gets an index."), of(ChangeKind::IndexAdded));
        } else if old.indexed && !new.indexed {
            let what = format!("`{legal}` loses its index: no order by it.");
            self.push(path, Class::Breaking, what, of(ChangeKind::IndexDropped));
        }
        if old.searchable != new.searchable {
            let class = if new.searchable { Class::Safe } else { Class::Dangerous };
            let what = format!(
                "Full-text search {} `{legal}`.",
                if new.searchable { "finds" } else { "no longer finds" }
            );
            self.push(path, class, what, of(ChangeKind::SearchableChanged));
        }
        if old.sensitive != new.sensitive {
            let (class, what) = if new.sensitive {
                (Class::Breaking, format!("`{legal}` is masked for roles that may not see it."))
            } else {
                (Class::Dangerous, format!("`{legal}` is no longer masked for anyone."))
            };
            self.push(path, class, what, of(ChangeKind::SensitiveChanged));
        }
        if old.default != new.default && old.kind == new.kind {
            let class = if new.default.is_none() && new.required {
                Class::Breaking
            } else {
                Class::Dangerous
            };
            self.push(
                path,
                class,
                format!("The default of `{legal}` changes."),
                of(ChangeKind::DefaultChanged),
            );
        }
        if old.validation != new.validation && old.kind.storage() == new.kind.storage() {
            if tightened(old, new) {
                let what = format!("`{legal}` no longer takes all values that it took.");
                self.push(path, Class::Dangerous, what, of(ChangeKind::ValidationTightened));
            } else {
                let what = format!("`{legal}` takes more values than before.");
                self.push(path, Class::Safe, what, of(ChangeKind::ValidationLoosened));
            }
        }
        if old.deprecated != new.deprecated {
            let what = if new.deprecated.is_some() {
                format!("`{legal}` is deprecated.")
            } else {
                format!("`{legal}` is no longer deprecated.")
            };
            self.push(path, Class::Safe, what, of(ChangeKind::Deprecated));
        }
        if (&old.display_name, &old.description) != (&new.display_name, &new.description) {
            self.push(
                path,
                Class::Safe,
                format!("Label or description of `{legal}` change."),
                of(ChangeKind::PropertyDescribed),
            );
        }
    }
}

type KindOf = fn(Arc<Klass>, Arc<Property>, Arc<Property>) -> ChangeKind;

/// How the kinds differ.
fn kinds(old: &Property, new: &Property) -> Vec<(Class, String, KindOf)> {
    let legal = &new.legal;
    if old.kind == new.kind {
        return Vec::new();
    }
    let mut out: Vec<(Class, String, KindOf)> = Vec::new();
    let listed = |k: &Kind| matches!(k, Kind::List(_));
    match (old.kind.item(), new.kind.item()) {
        _ if listed(&old.kind) != listed(&new.kind) => {}
        (Kind::Enum(a), Kind::Enum(b)) if a.type_name == b.type_name => enums(legal, a, b, &mut out),
        (Kind::Tree { paths: a }, Kind::Tree { paths: b }) => {
            let gone: Vec<_> = a.iter().filter(|p| !b.contains(p)).map(String::as_str).collect();
            if !gone.is_empty() {
                out.push((
                    Class::Dangerous,
                    format!("`{legal}` loses the paths {}.", gone.join(", ")),
                    ChangeKind::KindNarrowed,
                ));
            }
            if b.iter().any(|p| !a.contains(p)) {
                out.push((Class::Safe, format!("`{legal}` gets more paths."), ChangeKind::KindWidened));
            }
            return out;
        }
        (Kind::Object(a), Kind::Object(b)) if a.type_name == b.type_name => objects(legal, a, b, &mut out),
        // one GraphQL type, another length
        (Kind::String, Kind::Text) => out.push((Class::Safe, format!("`{legal}` takes longer texts."), ChangeKind::KindWidened)),
        (Kind::Text, Kind::String) => out.push((
            Class::Dangerous,
            format!("`{legal}` takes shorter texts only."),
            ChangeKind::KindNarrowed,
        )),
        _ => {}
    }
    if out.is_empty() {
        let reordered = match (old.kind.item(), new.kind.item()) {
            (Kind::Enum(a), Kind::Enum(b)) => a.type_name == b.type_name,
            (Kind::Object(a), Kind::Object(b)) => a.type_name == b.type_name,
            _ => false,
        } && listed(&old.kind) == listed(&new.kind);
        if reordered {
            out.push((
                Class::Safe,
                format!("Order or descriptions of the values or parts of `{legal}` change."),
                ChangeKind::KindWidened,
            ));
        } else {
            let what = format!("`{legal}` was of kind {} and is of kind {}.", old.kind.name(), new.kind.name());
            out.push((Class::Breaking, what, ChangeKind::KindChanged));
        }
    }
    out
}

fn enums(legal: &str, old: &EnumKind, new: &EnumKind, out: &mut Vec<(Class, String, KindOf)>) {
    let find = |kind: &EnumKind, value: &str| kind.values.iter().find(|v| v.value == value).cloned();
    let gone: Vec<_> = old
        .values
        .iter()
        .filter(|v| find(new, &v.value).is_none())
        .map(|v| v.value.as_str())
        .collect();
    if !gone.is_empty() {
        out.push((
            Class::Breaking,
            format!("`{legal}` loses the values {}.", gone.join(", ")),
            ChangeKind::KindNarrowed,
        ));
    }
    let more: Vec<_> = new
        .values
        .iter()
        .filter(|v| find(old, &v.value).is_none())
        .map(|v| v.value.as_str())
        .collect();
    if !more.is_empty() {
        let what = format!("`{legal}` gets the values {}, which clients may not know.", more.join(", "));
        out.push((Class::Dangerous, what, ChangeKind::KindWidened));
    }
    for v in &new.values {
        if let Some(before) = find(old, &v.value).filter(|b| b.legal != v.legal) {
            let what = format!("The value {} of `{legal}` is called {}.", before.legal, v.legal);
            out.push((Class::Breaking, what, ChangeKind::KindWidened));
        }
    }
}

fn objects(legal: &str, old: &ObjectKind, new: &ObjectKind, out: &mut Vec<(Class, String, KindOf)>) {
    for part in &new.parts {
        match old.parts.iter().find(|p| p.name == part.name) {
            None if part.required => {
                out.push((
                    Class::Breaking,
                    format!("`{legal}` gets the required part `{}`.", part.name),
                    ChangeKind::KindNarrowed,
                ));
            }
            None => out.push((
                Class::Safe,
                format!("`{legal}` gets the part `{}`.", part.name),
                ChangeKind::KindWidened,
            )),
            Some(before) if before.kind != part.kind => {
                let what = format!(
                    "The part `{}` of `{legal}` is of kind {} instead of {}.",
                    part.name,
                    part.kind.name(),
                    before.kind.name()
                );
                out.push((Class::Breaking, what, ChangeKind::KindNarrowed));
            }
            Some(before) if before.required != part.required => {
                let what = format!(
                    "The part `{}` of `{legal}` is {}.",
                    part.name,
                    if part.required { "required" } else { "no longer required" }
                );
                out.push((
                    Class::Breaking,
                    what,
                    if part.required {
                        ChangeKind::KindNarrowed
                    } else {
                        ChangeKind::KindWidened
                    },
                ));
            }
            Some(_) => {}
        }
    }
    for part in old.parts.iter().filter(|p| !new.parts.iter().any(|q| q.name == p.name)) {
        out.push((
            Class::Breaking,
            format!("`{legal}` loses the part `{}`.", part.name),
            ChangeKind::KindNarrowed,
        ));
    }
}

/// Whether a value that was good may no longer be, by its rules (the kinds are another question).
pub(crate) fn tightened(old: &Property, new: &Property) -> bool {
    use std::cmp::Ordering;
    let (a, b) = (&old.validation, &new.validation);
    let bound = |old: &Option<crate::klass::Value>, new: &Option<crate::klass::Value>, worse: Ordering| match (old, new) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(a), Some(b)) => crate::klass::accept::compare(b, a).is_none_or(|o| o == worse),
    };
    bound(&a.min, &b.min, Ordering::Greater)
        || bound(&a.max, &b.max, Ordering::Less)
        || b.min_length.unwrap_or(0) > a.min_length.unwrap_or(0)
        || match (a.max_length, b.max_length) {
            (Some(a), Some(b)) => b < a,
            (None, Some(b)) => b < crate::klass::accept::longest(&new.kind),
            (Some(a), None) => a > crate::klass::accept::longest(&new.kind),
            (None, None) => false,
        }
        || (a.pattern != b.pattern && b.pattern.is_some())
        || (a.format != b.format && b.format.is_some())
}
