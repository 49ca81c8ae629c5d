//! What is wrong with definitions: everything at once, each with its path, the reason and the remedy. [`super::read`] has seen to their
//! form; this sees to their meaning, alone and together with all other klasses of the org.

use std::collections::{HashMap, HashSet};

use super::definition::*;
use super::name::{self, LONGEST_NAME, nearest};
use super::property::Home;
use super::relationship::{Cardinality, OnDelete};
use super::{Fault, Kind, accept, collide, resolve, standard, system};

/// Most properties of a klass (databases allow 1,600 columns and more).
pub const MOST_PROPERTIES: usize = 400;
/// Most values of an enum.
pub const MOST_VALUES: usize = 1_000;
/// Most klasses of an org.
pub const MOST_KLASSES: usize = 1_000;
/// Most klasses to which one relationship leads.
pub const MOST_TARGETS: usize = 20;

/// Everything that is wrong with `written` (each klass once), were it to take its place among the org's stored definitions `previous`.
pub fn check(previous: &[Stored], written: &[Definition]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let names: HashSet<&str> = standard::standard()
        .iter()
        .chain(previous)
        .map(|s| s.written.name.as_str())
        .chain(written.iter().map(|d| d.name.as_str()))
        .collect();
    if names.len() > MOST_KLASSES {
        let count = names.len();
        faults.push(Fault::bad(
            ["klasses"],
            format!("There would be {count} klasses; an org may have {MOST_KLASSES}."),
        ));
    }
    for definition in written {
        Check {
            definition,
            names: &names,
            faults: &mut faults,
        }
        .klass();
    }
    faults.extend(collide::collisions(previous, written));
    faults
}

/// One definition under examination.
struct Check<'a> {
    definition: &'a Definition,
    names: &'a HashSet<&'a str>,
    faults: &'a mut Vec<Fault>,
}

type Path = Vec<String>;

fn at(path: &[String], step: &str) -> Path {
    path.iter().cloned().chain([step.to_owned()]).collect()
}

impl Check<'_> {
    fn bad(&mut self, path: Path, message: impl Into<String>, remedy: impl Into<String>) {
        let remedy = remedy.into();
        let fault = Fault::bad(path, message);
        self.faults.push(if remedy.is_empty() { fault } else { fault.remedy(remedy) });
    }

    fn klass(&mut self) {
        let d = self.definition;
        let path: Path = vec!["klasses".into(), d.name.clone()];
        let base = standard::definition(&d.name);
        if base.is_none() {
            self.name(&d.name, &path, "klass");
        }
        match base {
            Some(_) => self.addition(&path),
            None => self.own(&path),
        }
        let count = d.properties.len() + base.map_or(0, |b| b.properties.len());
        if count > MOST_PROPERTIES {
            let message = format!("It has {count} properties; a klass may have {MOST_PROPERTIES}.");
            self.bad(
                at(&path, "properties"),
                message,
                "Put some of them on a klass of their own, with a relationship.",
            );
        }
        for (name, property) in &d.properties {
            self.property(name, property, &at(&at(&path, "properties"), name), &d.properties);
        }
        for (name, relationship) in &d.relationships {
            self.relationship(name, relationship, &at(&at(&path, "relationships"), name));
        }
    }

    /// What an org writes of a standard klass: properties and relationships, nothing else.
    fn addition(&mut self, path: &Path) {
        let d = self.definition;
        let fixed = [
            ("plural", d.plural.is_some()),
            ("title", d.title.is_some()),
            ("displayName", d.display_name.is_some()),
            ("description", d.description.is_some()),
            ("icon", d.icon.is_some()),
            ("color", d.color.is_some()),
            ("status", d.status != Status::Enabled),
            ("timeline", d.timeline.is_some()),
            ("views", !d.views.is_null()),
        ];
        for (key, _) in fixed.iter().filter(|(_, given)| *given) {
            let message = format!("`{}` is a standard klass: its `{key}` cannot be changed.", d.name);
            self.bad(at(path, key), message, "Leave it out; an org may add properties and relationships.");
        }
    }

    fn own(&mut self, path: &Path) {
        let d = self.definition;
        if let Some(plural) = &d.plural {
            self.name(plural, &at(path, "plural"), "plural");
        }
        let plural = d.plural.clone().unwrap_or_else(|| name::plural(&d.name));
        if let (Some(one), Some(many)) = (name::fold(&d.name), name::fold(&plural))
            && one == many
        {
            let message = format!("Name and plural are both `{one}` in the schema.");
            self.bad(at(path, "plural"), message, format!("Give another plural, such as \"{one}List\"."));
        }
        if let Some(color) = &d.color
            && !(color.len() == 7 && color.starts_with('#') && color[1..].bytes().all(|b| b.is_ascii_hexdigit()))
        {
            self.bad(at(path, "color"), format!("`{color}` is not a colour."), "Write it as #5B6CF9.");
        }
        if let Some(title) = &d.title {
            self.title(title, &at(path, "title"));
        }
        if let Some(timeline) = &d.timeline {
            self.timeline(timeline, &at(path, "timeline"));
        }
        if !d.views.is_null() && !d.views.is_object() && !d.views.is_array() {
            self.bad(at(path, "views"), "`views` must be a table or a list.", "");
        }
    }

    fn title(&mut self, title: &str, path: &Path) {
        let d = self.definition;
        if title.matches('{').count() != title.matches('}').count() || resolve::title_names(title).len() != title.matches('{').count() {
            self.bad(
                path.clone(),
                format!("The braces in `{title}` do not match."),
                "Write a property as {name}.",
            );
            return;
        }
        for named in resolve::title_names(title) {
            let kind = d.properties.get(named).map(|p| p.kind.as_str());
            match kind {
                Some("json" | "object") => {
                    self.bad(
                        path.clone(),
                        format!("`{named}` is of kind {}, which has no plain text.", kind.unwrap_or_default()),
                        "",
                    );
                }
                Some(_) => {}
                None if system::NAMES.contains(&named) && named != "tags" => {}
                None => {
                    let meant = nearest(named, d.properties.keys().map(String::as_str));
                    let remedy = meant.map_or_else(|| "Name one of its properties.".into(), |m| format!("Did you mean {{{m}}}?"));
                    self.bad(path.clone(), format!("The klass has no property `{named}`."), remedy);
                }
            }
        }
        if title.chars().count() > 500 {
            self.bad(path.clone(), "A title may have at most 500 characters.", "");
        }
    }

    fn timeline(&mut self, timeline: &TimelineDefinition, path: &Path) {
        let d = self.definition;
        if let Some(named) = &timeline.at {
            let kind = d.properties.get(named).map(|p| (p.kind.as_str(), p.list));
            let instants = || d.properties.iter().filter(|(_, p)| p.kind == "datetime").map(|(n, _)| n.as_str());
            match kind {
                Some(("datetime", false)) => {}
                Some((kind, _)) => {
                    let message = format!("`{named}` is of kind {kind}; a place on the timeline needs a datetime.");
                    self.bad(at(path, "at"), message, "");
                }
                None if ["createdAt", "updatedAt", "importedAt"].contains(&named.as_str()) => {}
                None => {
                    let remedy = nearest(named, instants()).map_or_else(
                        || "Name a property of kind datetime, or leave `at` out for createdAt.".into(),
                        |m| format!("Did you mean `{m}`?"),
                    );
                    self.bad(at(path, "at"), format!("The klass has no property `{named}`."), remedy);
                }
            }
        }
        let to_customer: Vec<_> = d
            .relationships
            .iter()
            .filter(|(_, r)| r.kind == Cardinality::One && r.to == ["customer"])
            .collect();
        let belongs = to_customer.len() == 1 || to_customer.iter().any(|(n, _)| name::fold(n).as_deref() == Some("customer"));
        // a relationship that the customer's own additions declare puts the column here as well, but only they know
        if !belongs {
            let message = "It is on the timeline, but does not say to which customer its objects belong.";
            let remedy = "Add the relationship customer = { to = \"customer\", kind = \"one\" }, or leave out the timeline.";
            self.bad(path.clone(), message, remedy);
        }
    }

    /// A name that a person gave.
    fn name(&mut self, given: &str, path: &Path, what: &str) {
        if given.is_empty() {
            return; // `read` has said so
        }
        if given.starts_with("__") {
            let message = format!("The {what} `{given}` begins with `__`, which GraphQL keeps for itself.");
            self.bad(path.clone(), message, "Leave out the underscores.");
        } else if name::fold(given).is_none() {
            let message = format!("The {what} `{given}` has no letter or digit that GraphQL allows.");
            self.bad(path.clone(), message, "Use Latin letters and digits.");
        }
        if given.chars().count() > LONGEST_NAME {
            self.bad(
                path.clone(),
                format!("The name of a {what} may have at most {LONGEST_NAME} characters."),
                "",
            );
        }
        if given.chars().any(char::is_control) {
            self.bad(path.clone(), format!("The name of the {what} holds a control character."), "");
        }
    }

    fn property(&mut self, name: &str, p: &PropertyDefinition, path: &Path, siblings: &indexmap::IndexMap<String, PropertyDefinition>) {
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

    fn relationship(&mut self, name: &str, r: &RelationshipDefinition, path: &Path) {
        self.name(name, path, "relationship");
        let mut seen = HashSet::new();
        for far in &r.to {
            if !self.names.contains(far.as_str()) {
                let meant = nearest(far, self.names.iter().copied());
                let remedy = meant.map_or_else(
                    || "Define that klass first, or in the same change.".into(),
                    |m| format!("Did you mean `{m}`?"),
                );
                self.bad(at(path, "to"), format!("There is no klass `{far}`."), remedy);
            } else if !seen.insert(far) {
                self.bad(at(path, "to"), format!("`{far}` is there twice."), "Leave one out.");
            }
        }
        if r.to.len() > MOST_TARGETS {
            self.bad(
                at(path, "to"),
                format!("It leads to {} klasses; at most {MOST_TARGETS} are possible.", r.to.len()),
                "",
            );
        }
        if let Some(inverse) = &r.inverse {
            self.name(inverse, &at(path, "inverse"), "inverse");
        }
        if r.required && r.kind == Cardinality::Many {
            let message = "Only a relationship to one can be required.";
            self.bad(at(path, "required"), message, "Leave it out, or say kind = \"one\".");
        }
        if r.required && r.kind == Cardinality::One && r.on_delete == OnDelete::Unlink {
            let message = "A required relationship cannot be unlinked when the far object is deleted.";
            self.bad(at(path, "onDelete"), message, "Say restrict or cascade.");
        }
        if !r.properties.is_empty() && r.kind == Cardinality::One {
            let message = "Only a relationship to many has properties of its own.";
            self.bad(
                at(path, "properties"),
                message,
                "Put them on the klass itself, or say kind = \"many\".",
            );
        }
        for old in r.formerly.iter().flatten() {
            if old == name {
                self.bad(at(path, "formerly"), "It was always called so.", "Leave the name out.");
            } else if self.definition.relationships.contains_key(old) {
                let message = format!("There is still a relationship `{old}`.");
                self.bad(at(path, "formerly"), message, "Remove that one, or leave it out here.");
            }
        }
        let path = at(path, "properties");
        let mut folded: HashMap<String, &str> = HashMap::new();
        for (name, property) in &r.properties {
            let path = at(&path, name);
            self.property(name, property, &path, &r.properties);
            if property.unique {
                self.bad(at(&path, "unique"), "A property of a link cannot be unique.", "Leave it out.");
            }
            let Some(legal) = name::fold(name) else { continue };
            if ["node", "cursor", "linkedAt"].contains(&legal.as_str()) {
                let message = format!("`{legal}` is a field of every edge.");
                self.bad(path, message, "Choose another name.");
            } else if let Some(other) = folded.insert(legal.clone(), name) {
                self.bad(
                    path,
                    format!("`{other}` and `{name}` both become `{legal}`."),
                    "Rename one of them.",
                );
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
