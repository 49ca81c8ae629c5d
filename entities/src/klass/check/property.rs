//! Faults of a property: its kind and what belongs to it, its flags, its bounds, its default.

use std::collections::{HashMap, HashSet};

use super::{Check, MOST_VALUES, Path, at};
use crate::klass::definition::*;
use crate::klass::name::{self, nearest};
use crate::klass::property::{Format, Home};
use crate::klass::{Fault, Kind, accept, resolve, standard};

impl Check<'_> {
    pub(super) fn property(
        &mut self,
        name: &str,
        p: &PropertyDefinition,
        path: &Path,
        siblings: &indexmap::IndexMap<String, PropertyDefinition>,
    ) {
        self.name(name, path, "property");
        let known = self.kind(p, path);
        if p.writable != WritableDefinition::Always {
            self.bad(at(path, "writable"), "Only standard klasses say who may write.", "Leave it out.");
        }
        for old in p.formerly.iter().flatten() {
            if old == name {
                self.bad(at(path, "formerly"), "It was always called so.", "Leave the name out.");
            } else if siblings.contains_key(old) {
                let message = format!("There is still a property `{old}`.");
                self.bad(at(path, "formerly"), message, "Remove that one, or leave it out here.");
            }
        }
        // what cannot be read cannot be judged further
        let Some(kind) = known else { return };
        self.flags(p, &kind, path);
        self.bounds(p, &kind, path);
        self.defaults(name, p, &kind, path);
    }

    /// Faults of the kind and of what belongs to it; the kind if there is none.
    fn kind(&mut self, p: &PropertyDefinition, path: &Path) -> Option<Kind> {
        let before = self.faults.len();
        self.kind_name(&p.kind, &at(path, "kind"), true);
        let misplaced = [
            ("big", p.big, p.kind == "integer", "an integer"),
            ("values", !p.values.is_empty(), p.kind == "enum", "an enum"),
            ("paths", !p.paths.is_empty(), p.kind == "tree", "a tree"),
            ("parts", !p.parts.is_empty(), p.kind == "object", "an object"),
            (
                "type",
                p.type_name.is_some(),
                matches!(p.kind.as_str(), "enum" | "object"),
                "an enum or an object",
            ),
        ];
        for (key, _, _, what) in misplaced.iter().filter(|(_, given, fits, _)| *given && !fits) {
            self.bad(
                at(path, key),
                format!("`{key}` is for {what}; this is of kind {}.", p.kind),
                "Leave it out.",
            );
        }
        if let Some(type_name) = &p.type_name {
            if !name::is_legal(type_name) || !type_name.starts_with(|c: char| c.is_ascii_uppercase()) {
                let folded = name::fold_type(type_name).unwrap_or_else(|| "Tier".into());
                self.bad(
                    at(path, "type"),
                    format!("`{type_name}` is not the name of a type."),
                    format!("Write it as {folded}."),
                );
            } else if standard::shared(type_name).is_some() {
                let message = format!("`{type_name}` is a shared type.");
                self.bad(
                    at(path, "type"),
                    message,
                    format!("Say kind = \"{type_name}\" to use it, or choose another name."),
                );
            }
        }
        match p.kind.as_str() {
            "enum" => self.values(&p.values, path),
            "tree" => self.paths(&p.paths, path),
            "object" => self.parts(&p.parts, path),
            _ => {}
        }
        if self.faults.len() > before {
            return None;
        }
        let shared = |name: &str| standard::shared(name).cloned();
        resolve::kind(p, None, &indexmap::IndexMap::new(), &shared)
    }

    fn kind_name(&mut self, kind: &str, path: &Path, whole: bool) {
        let composed: &[&str] = if whole { &["enum", "tree", "object"] } else { &["enum"] };
        let known = || {
            let shared = standard::shared_kinds()
                .iter()
                .filter(|(_, (k, _))| whole || matches!(k, Kind::Enum(_)))
                .map(|(n, _)| n.as_str());
            resolve::SCALARS.iter().chain(composed).copied().chain(shared)
        };
        if kind.is_empty() || known().any(|k| k == kind) {
            return; // empty: `read` has said so
        }
        if kind.starts_with("list of ") {
            self.bad(
                path.clone(),
                "A list cannot hold lists.",
                "Use kind = \"json\", or a klass with a relationship.",
            );
            return;
        }
        let hint = match kind.to_ascii_lowercase().as_str() {
            "int" | "number" | "long" | "bigint" => Some("integer"),
            "float" | "double" | "numeric" | "real" => Some("decimal"),
            "bool" => Some("boolean"),
            "timestamp" | "time" | "instant" => Some("datetime"),
            "str" | "varchar" | "char" => Some("string"),
            "uri" | "link" => Some("url"),
            "map" | "any" => Some("json"),
            "currency" | "amount" => Some("money"),
            "array" | "list" => Some("list of string"),
            _ => None,
        };
        let remedy = match hint.or_else(|| nearest(kind, known())) {
            Some(meant) => format!("Did you mean `{meant}`?"),
            None => format!(
                "It may be: {}, or a shared type.",
                resolve::SCALARS.iter().chain(composed).copied().collect::<Vec<_>>().join(", ")
            ),
        };
        self.bad(path.clone(), format!("There is no kind `{kind}`."), remedy);
    }

    fn values(&mut self, values: &[EnumValueDefinition], path: &Path) {
        let path = at(path, "values");
        if values.is_empty() {
            self.bad(
                path.clone(),
                "An enum needs values.",
                "Say, for example, values = [\"new\", \"done\"].",
            );
        }
        if values.len() > MOST_VALUES {
            let message = format!("An enum may have at most {MOST_VALUES} values, not {}.", values.len());
            self.bad(path.clone(), message, "Use a string, or a klass with a relationship.");
        }
        let mut stored = HashSet::new();
        let mut legal: HashMap<String, &str> = HashMap::new();
        for (i, v) in values.iter().enumerate() {
            let path = at(&path, &i.to_string());
            if v.value.is_empty() || v.value.chars().count() > 255 || v.value.contains('\0') {
                self.bad(path.clone(), "A value of an enum has 1 to 255 characters.", "");
                continue;
            }
            if !stored.insert(&v.value) {
                self.bad(path.clone(), format!("The value \"{}\" is there twice.", v.value), "Leave one out.");
                continue;
            }
            let Some(name) = v.name.clone().or_else(|| name::fold_enum(&v.value)) else {
                let message = format!("The value \"{}\" makes no GraphQL name.", v.value);
                self.bad(path, message, format!("Give it one: {{ value = \"{}\", name = \"…\" }}.", v.value));
                continue;
            };
            if !name::is_legal(&name) || matches!(name.as_str(), "true" | "false" | "null") {
                let message = format!("`{name}` is not a legal GraphQL name.");
                self.bad(
                    path,
                    message,
                    "Use letters, digits and underscores, not beginning with a digit or `__`.",
                );
            } else if let Some(other) = legal.insert(name.clone(), &v.value) {
                let message = format!("The values \"{other}\" and \"{}\" both become `{name}`.", v.value);
                self.bad(
                    path,
                    message,
                    format!("Give one of them a name: {{ value = \"{}\", name = \"…\" }}.", v.value),
                );
            }
        }
    }

    fn paths(&mut self, paths: &[String], path: &Path) {
        let path = at(path, "paths");
        if paths.is_empty() {
            self.bad(
                path.clone(),
                "A tree needs paths.",
                "Say, for example, paths = [\"Outdoor/Tents\", \"Outdoor/Bags\"].",
            );
        }
        let mut seen = HashSet::new();
        for (i, it) in paths.iter().enumerate() {
            let path = at(&path, &i.to_string());
            if it.split('/').any(|step| step.trim().is_empty()) {
                self.bad(path, format!("The path \"{it}\" has an empty step."), "Write it as Outdoor/Tents.");
            } else if !seen.insert(it) {
                self.bad(path, format!("The path \"{it}\" is there twice."), "Leave one out.");
            } else if it.chars().count() > accept::STRING_LENGTH as usize {
                self.bad(path, format!("A path may have at most {} characters.", accept::STRING_LENGTH), "");
            }
        }
    }

    fn parts(&mut self, parts: &indexmap::IndexMap<String, PartDefinition>, path: &Path) {
        let path = at(path, "parts");
        if parts.is_empty() {
            self.bad(
                path.clone(),
                "An object needs parts.",
                "Say, for example, parts = { street = \"string\" }; or use kind = \"json\".",
            );
        }
        for (name, part) in parts {
            let path = at(&path, name);
            if !name::is_legal(name) {
                let remedy = name::fold(name).map_or_else(String::new, |f| format!("Write it as {f}."));
                self.bad(
                    path.clone(),
                    format!("`{name}` is not a legal GraphQL name, which a part needs."),
                    remedy,
                );
            }
            self.kind_name(&part.kind, &at(&path, "kind"), false);
            if part.kind == "enum" {
                self.values(&part.values, &path);
            } else if !part.values.is_empty() {
                self.bad(
                    at(&path, "values"),
                    format!("`values` is for an enum; this is of kind {}.", part.kind),
                    "Leave it out.",
                );
            }
            if part.big && part.kind != "integer" {
                self.bad(
                    at(&path, "big"),
                    format!("`big` is for an integer; this is of kind {}.", part.kind),
                    "Leave it out.",
                );
            }
        }
    }

    fn flags(&mut self, p: &PropertyDefinition, kind: &Kind, path: &Path) {
        let what = kind.name();
        if p.unique
            && matches!(
                kind,
                Kind::List(_) | Kind::Json | Kind::Object(_) | Kind::Text | Kind::Boolean | Kind::Money
            )
        {
            let remedy = if matches!(kind, Kind::Text) {
                "Use kind = \"string\", or leave out `unique`."
            } else {
                "Leave out `unique`."
            };
            self.bad(at(path, "unique"), format!("A property of kind {what} cannot be unique."), remedy);
        }
        if p.indexed && matches!(kind, Kind::Json | Kind::Object(_) | Kind::Text) {
            let remedy = if matches!(kind, Kind::Text) {
                "Say `searchable` to find words in it."
            } else {
                "Leave out `indexed`."
            };
            self.bad(
                at(path, "indexed"),
                format!("A property of kind {what} cannot have an index."),
                remedy,
            );
        }
        if p.searchable && !(kind.item().is_text() || matches!(kind.item(), Kind::Enum(_))) {
            let message = format!("Full-text search looks into text; this is of kind {what}.");
            self.bad(at(path, "searchable"), message, "Leave out `searchable`.");
        }
        if p.unique && p.default.is_some() {
            let message = "A unique property cannot have a default: the second object would break it.";
            self.bad(at(path, "default"), message, "Leave out `default` or `unique`.");
        }
    }

    fn bounds(&mut self, p: &PropertyDefinition, kind: &Kind, path: &Path) {
        let what = kind.name();
        let item = kind.item();
        let measured = measured(item);
        let lengthy = matches!(kind, Kind::List(_)) || matches!(item, Kind::String | Kind::Text | Kind::Url | Kind::Email);
        let textual = matches!(kind, Kind::String | Kind::Text | Kind::Url | Kind::Email | Kind::Phone);
        for (key, given) in [("min", p.min.is_some()), ("max", p.max.is_some())] {
            if given && !measured {
                let remedy = if lengthy {
                    "Say minLength or maxLength for the number of characters or items."
                } else {
                    "Leave it out."
                };
                self.bad(
                    at(path, key),
                    format!("`{key}` is for numbers, money and times; this is of kind {what}."),
                    remedy,
                );
            }
        }
        for (key, given) in [("minLength", p.min_length.is_some()), ("maxLength", p.max_length.is_some())] {
            if given && !lengthy {
                let remedy = if measured {
                    "Say min or max for the value."
                } else {
                    "Leave it out."
                };
                self.bad(
                    at(path, key),
                    format!("`{key}` is for texts and lists; this is of kind {what}."),
                    remedy,
                );
            }
        }
        if let (Some(least), Some(most)) = (p.min_length, p.max_length)
            && least > most
        {
            self.bad(
                at(path, "minLength"),
                format!("minLength {least} is more than maxLength {most}."),
                "Exchange them.",
            );
        }
        let limit = match kind {
            Kind::Text => 16 * accept::TEXT_LENGTH,
            Kind::List(_) => accept::LIST_LENGTH,
            _ => 65_535,
        };
        if p.max_length.is_some_and(|most| most > limit) {
            self.bad(
                at(path, "maxLength"),
                format!("A property of kind {what} may have at most {limit}."),
                "",
            );
        }
        if let Some(pattern) = &p.pattern {
            if !textual {
                self.bad(
                    at(path, "pattern"),
                    format!("`pattern` is for texts; this is of kind {what}."),
                    "Leave it out.",
                );
            } else if accept::pattern(pattern, false).is_none() {
                let reason = regex::Regex::new(pattern)
                    .err()
                    .map(|e| last_line(&e.to_string()))
                    .unwrap_or_else(|| "it is too large".into());
                self.bad(
                    at(path, "pattern"),
                    format!("`{pattern}` is not a regular expression: {reason}."),
                    "See https://docs.rs/regex for the syntax.",
                );
            }
        }
        if let Some(format) = &p.format {
            if !textual {
                self.bad(
                    at(path, "format"),
                    format!("`format` is for texts; this is of kind {what}."),
                    "Leave it out.",
                );
            } else if Format::named(format).is_none() {
                let all: Vec<_> = Format::ALL.into_iter().map(Format::name).collect();
                self.bad(
                    at(path, "format"),
                    format!("There is no format `{format}`."),
                    format!("Formats: {}.", all.join(", ")),
                );
            }
        }
    }

    /// Whether minimum, maximum and default are values of the kind, and agree with each other.
    fn defaults(&mut self, name: &str, p: &PropertyDefinition, kind: &Kind, path: &Path) {
        let settled = SettledProperty {
            legal: name::fold(name).unwrap_or_default(),
            ..Default::default()
        };
        let mut bare = p.clone();
        bare.default = None;
        if !measured(kind.item()) {
            // `bounds` has said that they do not belong here
            (bare.min, bare.max) = (None, None);
        }
        match resolve::property(name, &bare, &settled, Home::Table, false, path) {
            Err(fault) => self.faults.push(fault),
            Ok(made) => {
                if let (Some(min), Some(max)) = (&made.validation.min, &made.validation.max)
                    && accept::compare(min, max).is_some_and(std::cmp::Ordering::is_gt)
                {
                    self.bad(at(path, "min"), "`min` is more than `max`.", "Exchange them.");
                    return;
                }
                if let Some(json) = &p.default
                    && let Err(fault) = made.accept(json, &at(path, "default"))
                {
                    let message = format!("The default is not acceptable: {}", fault.message);
                    self.faults.push(Fault { message, ..fault });
                }
            }
        }
    }
}

/// Has values with a smallest and a largest.
fn measured(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Integer { .. } | Kind::Decimal | Kind::Money | Kind::Date | Kind::DateTime
    )
}

fn last_line(text: &str) -> String {
    text.lines()
        .last()
        .unwrap_or_default()
        .trim()
        .trim_start_matches("error: ")
        .to_owned()
}
