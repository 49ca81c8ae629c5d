//! What is wrong with definitions: everything at once, each with its path, the reason and the remedy. [`super::read`] has seen to their
//! form; this sees to their meaning, alone and together with all other klasses of the org.

use std::collections::{HashMap, HashSet};

use super::definition::*;
use super::name::{self, LONGEST_NAME, nearest};
use super::relationship::{Cardinality, OnDelete};
use super::{Fault, collide, resolve, standard, system};

mod property;

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
