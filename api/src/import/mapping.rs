//! A mapping file, read against an org's klasses: everything that is wrong with it is told at once, before any record is read.

use std::sync::Arc;

use klio_entities::klass::filter::ContactKind;
use klio_entities::klass::name::nearest;
use klio_entities::klass::property::{Property, Writable};
use klio_entities::klass::relationship::{Cardinality, Side};
use klio_entities::klass::{End, Fault, Faults, Kind, Klass, Registry};
use toml::{Table, Value as Toml};

use super::expression::Expression;
use super::path::Path;

mod read;

/// How records become objects.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// What each record becomes.
    pub root: Level,
}

/// What the records of one level become.
#[derive(Clone, Debug)]
pub struct Level {
    /// Objects of this klass.
    pub klass: Arc<Klass>,
    /// The unique property by which an object is known again.
    pub key: Arc<Property>,
    /// Where the records stand in those above; the root has none.
    pub records: Option<Path>,
    /// How each property is made.
    pub values: Vec<(Arc<Property>, Expression)>,
    /// How each link is made.
    pub links: Vec<LinkRule>,
    /// Records within these records.
    pub children: Vec<Level>,
}

/// How a link is made.
#[derive(Clone, Debug)]
pub struct LinkRule {
    /// The end, on the level's klass.
    pub end: Arc<End>,
    /// The far klass.
    pub to: Arc<Klass>,
    /// To which object.
    pub target: Target,
}

/// To which object a link leads.
#[derive(Clone, Debug)]
pub enum Target {
    /// The one made of the record above.
    Parent,
    /// Those known by what stands at a path.
    Known {
        /// Where the records of the links stand, when each link has one of its own: `from` and the values are theirs.
        each: Option<Path>,
        /// What stands for the far object.
        from: Path,
        /// By what it is known.
        by: By,
        /// Properties of the link.
        values: Vec<(Arc<Property>, Expression)>,
    },
}

/// By what an object is known.
#[derive(Clone, Debug)]
pub enum By {
    /// A unique property.
    Unique(Arc<Property>),
    /// A contact point of a customer.
    Contact(ContactKind),
}

impl LinkRule {
    /// Without it the object cannot be.
    pub fn is_required(&self) -> bool {
        self.end.side == Side::From && self.end.relationship.required
    }
}

impl Mapping {
    /// Reads a mapping for records that become objects of `klass`.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place in the file.
    pub fn read(text: &str, registry: &Registry, klass: &str) -> Result<Self, Faults> {
        let none = Vec::<String>::new();
        let table: Table = toml::from_str(text).map_err(|error| Fault::bad(none.clone(), error.to_string().trim_end().to_owned()))?;
        let mut reader = Reader {
            registry,
            faults: Vec::new(),
        };
        match table.get("klass") {
            Some(Toml::String(said)) if said != klass => reader.fault(
                &["klass".into()],
                format!("the mapping is for `{said}`, and `{klass}` was asked for"),
                Some("Give --klass the mapping's klass, or another mapping.".into()),
            ),
            _ => {}
        }
        let root = reader.level(&table, Some(klass), None, &[]);
        match root {
            Some(root) if reader.faults.is_empty() => Ok(Mapping { root }),
            _ => Err(Faults(reader.faults)),
        }
    }
}

/// Reads and keeps every fault.
struct Reader<'r> {
    registry: &'r Registry,
    faults: Vec<Fault>,
}

fn under(place: &[String], step: impl Into<String>) -> Vec<String> {
    let mut place = place.to_vec();
    place.push(step.into());
    place
}

fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("Did you mean `{near}`?"),
        None => {
            let names: Vec<&str> = known.into_iter().collect();
            format!("There are: {}.", names.join(", "))
        }
    }
}

impl Reader<'_> {
    fn fault(&mut self, place: &[String], message: impl Into<String>, remedy: Option<String>) {
        let fault = Fault::bad(place.to_vec(), message);
        self.faults.push(match remedy {
            Some(remedy) => fault.remedy(remedy),
            None => fault,
        });
    }

    /// Refuses keys that are not known.
    fn only(&mut self, table: &Table, known: &[&str], place: &[String]) {
        for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
            self.fault(
                &under(place, key),
                format!("`{key}` is no key of this table"),
                Some(meant(key, known.iter().copied())),
            );
        }
    }

    fn table<'t>(&mut self, table: &'t Table, key: &str, place: &[String]) -> Option<&'t Table> {
        match table.get(key) {
            None => None,
            Some(Toml::Table(inner)) => Some(inner),
            Some(other) => {
                self.fault(
                    &under(place, key),
                    format!("this is {}, and a table was expected", other.type_str()),
                    None,
                );
                None
            }
        }
    }

    fn text<'t>(&mut self, table: &'t Table, key: &str, place: &[String]) -> Option<&'t str> {
        match table.get(key) {
            None => None,
            Some(Toml::String(text)) => Some(text),
            Some(other) => {
                self.fault(
                    &under(place, key),
                    format!("this is {}, and a text was expected", other.type_str()),
                    None,
                );
                None
            }
        }
    }

    fn path(&mut self, text: &str, depth: usize, place: &[String]) -> Option<Path> {
        match Path::read(text) {
            Ok(path) if path.levels_up() > depth => {
                self.fault(
                    place,
                    format!("`{text}` goes above the file's records"),
                    Some("Take away a `^.`.".into()),
                );
                None
            }
            Ok(path) => Some(path),
            Err(why) => {
                self.fault(place, why, None);
                None
            }
        }
    }

    /// One level and those below it. `above`: the level's parents, outermost first.
    fn level(&mut self, table: &Table, name: Option<&str>, records: Option<Path>, above: &[Arc<Klass>]) -> Option<Level> {
        self.level_at(table, name, records, above, &[])
    }

    fn level_at(
        &mut self,
        table: &Table,
        name: Option<&str>,
        records: Option<Path>,
        above: &[Arc<Klass>],
        place: &[String],
    ) -> Option<Level> {
        let mut known = vec!["klass", "key", "properties", "links", "children"];
        if !above.is_empty() {
            known.push("records");
        }
        self.only(table, &known, place);
        let said = self.text(table, "klass", place);
        let registry = self.registry;
        let Some(name) = name.or(said) else {
            self.fault(&under(place, "klass"), "the klass is not said", Some("Add klass = \"…\".".into()));
            return None;
        };
        let Some(klass) = registry
            .klass(name)
            .or_else(|| registry.klasses.iter().find(|k| k.legal.field == name))
        else {
            let names: Vec<&str> = registry.klasses.iter().map(|k| k.name.as_str()).collect();
            self.fault(
                &under(place, "klass"),
                format!("there is no klass `{name}`"),
                Some(meant(name, names)),
            );
            return None;
        };
        let values = self.properties(table, klass, above.len(), place);
        let links = self.links(table, klass, above, place);
        let key = self.key(table, klass, &values, place);
        let mut further = above.to_vec();
        further.push(klass.clone());
        let mut children = Vec::new();
        match table.get("children") {
            None => {}
            Some(Toml::Array(tables)) => {
                for (i, child) in tables.iter().enumerate() {
                    let place = under(place, format!("children[{i}]"));
                    let Toml::Table(child) = child else {
                        self.fault(&place, "a table was expected", Some("Write it as [[children]].".into()));
                        continue;
                    };
                    let records = match self.text(child, "records", &place) {
                        Some(text) => self.path(text, above.len(), &under(&place, "records")),
                        None => {
                            if !child.contains_key("records") {
                                let remedy = "Add records = \"…\": where they stand in the record above.";
                                self.fault(
                                    &under(&place, "records"),
                                    "where its records stand is not said",
                                    Some(remedy.into()),
                                );
                            }
                            None
                        }
                    };
                    children.extend(self.level_at(child, None, records, &further, &place));
                }
            }
            Some(_) => self.fault(
                &under(place, "children"),
                "a list of tables was expected",
                Some("Write it as [[children]].".into()),
            ),
        }
        Some(Level {
            klass: klass.clone(),
            key: key?,
            records,
            values,
            links,
            children,
        })
    }

    fn key(
        &mut self,
        table: &Table,
        klass: &Arc<Klass>,
        values: &[(Arc<Property>, Expression)],
        place: &[String],
    ) -> Option<Arc<Property>> {
        let name = self.text(table, "key", place).unwrap_or("externalId");
        let place = under(place, "key");
        let Some(property) = property(klass, name) else {
            let names: Vec<&str> = klass.properties.iter().map(|p| p.legal.as_str()).collect();
            self.fault(
                &place,
                format!("klass {} has no property `{name}`", klass.name),
                Some(meant(name, names)),
            );
            return None;
        };
        if !property.unique || property.legal == "id" {
            let unique: Vec<&str> = klass
                .properties
                .iter()
                .filter(|p| p.unique && p.legal != "id")
                .map(|p| p.legal.as_str())
                .collect();
            self.fault(
                &place,
                format!("`{name}` is not unique, so it does not tell which object a record is"),
                Some(format!("Use one of: {}.", unique.join(", "))),
            );
            return None;
        }
        if !values.iter().any(|(p, _)| p.legal == property.legal) && self.faults.is_empty() {
            self.fault(
                &place,
                format!("`{name}` is the key, and [properties] does not say where it comes from"),
                Some(format!("Add {name} = \"…\" to [properties].")),
            );
            return None;
        }
        Some(property.clone())
    }

    fn properties(&mut self, table: &Table, klass: &Arc<Klass>, depth: usize, place: &[String]) -> Vec<(Arc<Property>, Expression)> {
        let Some(given) = self.table(table, "properties", place) else {
            return Vec::new();
        };
        let place = under(place, "properties");
        let mut values: Vec<(Arc<Property>, Expression)> = Vec::new();
        for (name, said) in given {
            let place = under(&place, name);
            let Some(found) = property(klass, name) else {
                if klass.end(name).is_some() {
                    self.fault(&place, format!("`{name}` is a relationship"), Some("Say it under [links].".into()));
                } else {
                    let names: Vec<&str> = klass.properties.iter().map(|p| p.legal.as_str()).collect();
                    self.fault(
                        &place,
                        format!("klass {} has no property `{name}`", klass.name),
                        Some(meant(name, names)),
                    );
                }
                continue;
            };
            if found.writable == Writable::Never {
                self.fault(
                    &place,
                    format!("`{name}` is kept by the gateway and cannot be set"),
                    Some("Take it out.".into()),
                );
                continue;
            }
            if values.iter().any(|(known, _)| known.legal == found.legal) {
                self.fault(&place, format!("`{name}` is said twice, under two of its names"), None);
                continue;
            }
            // A table without a word of ours is an object, where the property can hold one.
            let objects = matches!(found.kind, Kind::Json | Kind::Object(_)) || matches!(&found.kind, Kind::List(_));
            if let Some(expression) = self.expression(said, depth, objects, &place) {
                values.push((found.clone(), expression));
            }
        }
        values
    }

    fn links(&mut self, table: &Table, klass: &Arc<Klass>, above: &[Arc<Klass>], place: &[String]) -> Vec<LinkRule> {
        let Some(given) = self.table(table, "links", place) else {
            return Vec::new();
        };
        let place = under(place, "links");
        let mut links = Vec::new();
        for (name, said) in given {
            let place = under(&place, name);
            let Some(end) = klass.end(name) else {
                if property(klass, name).is_some() {
                    self.fault(&place, format!("`{name}` is a property"), Some("Say it under [properties].".into()));
                } else {
                    let names: Vec<&str> = klass.ends.iter().map(|e| e.legal.as_str()).collect();
                    self.fault(
                        &place,
                        format!("klass {} has no relationship `{name}`", klass.name),
                        Some(meant(name, names)),
                    );
                }
                continue;
            };
            let Toml::Table(said) = said else {
                let remedy = format!("Write {name} = {{ from = \"…\", by = \"externalId\" }}.");
                self.fault(&place, "a link is a table", Some(remedy));
                continue;
            };
            links.extend(self.link(said, end, above, &place));
        }
        links
    }

    fn link(&mut self, said: &Table, end: &Arc<End>, above: &[Arc<Klass>], place: &[String]) -> Option<LinkRule> {
        self.only(said, &["from", "by", "klass", "parent", "each", "properties"], place);
        match said.get("parent") {
            None => {}
            Some(Toml::Boolean(true)) => {
                let Some(parent) = above.last() else {
                    self.fault(
                        &under(place, "parent"),
                        "the file's records have no parent",
                        Some("Use `from`.".into()),
                    );
                    return None;
                };
                if let Some(other) = ["from", "each", "properties"].into_iter().find(|key| said.contains_key(*key)) {
                    self.fault(place, format!("`parent` and `{other}` exclude each other"), None);
                    return None;
                }
                if !end.to.contains(&parent.name) {
                    let message = format!(
                        "the parent is of klass {}, and `{}` leads to {}",
                        parent.name,
                        end.legal,
                        end.to.join(", ")
                    );
                    self.fault(place, message, None);
                    return None;
                }
                return Some(LinkRule {
                    end: end.clone(),
                    to: parent.clone(),
                    target: Target::Parent,
                });
            }
            Some(_) => {
                self.fault(
                    &under(place, "parent"),
                    "it can only be true",
                    Some("Leave it out otherwise.".into()),
                );
                return None;
            }
        }
        let to = match (self.text(said, "klass", place), end.to.as_slice()) {
            (None, [only]) => only.clone(),
            (None, several) => {
                let remedy = format!("Add klass = \"…\": one of {}.", several.join(", "));
                self.fault(place, format!("`{}` leads to several klasses", end.legal), Some(remedy));
                return None;
            }
            (Some(name), _) if end.to.iter().any(|to| to == name) => name.to_owned(),
            (Some(name), known) => {
                let remedy = meant(name, known.iter().map(String::as_str));
                self.fault(
                    &under(place, "klass"),
                    format!("`{}` does not lead to `{name}`", end.legal),
                    Some(remedy),
                );
                return None;
            }
        };
        let registry = self.registry;
        let to = registry.klass(&to)?.clone();
        let by = self.text(said, "by", place).unwrap_or("externalId");
        let by = match (property(&to, by), by) {
            (Some(property), _) if property.unique && property.legal != "id" => By::Unique(property.clone()),
            (Some(_), "email") if to.standard && to.name == "customer" => By::Contact(ContactKind::Email),
            (Some(_), "phone") if to.standard && to.name == "customer" => By::Contact(ContactKind::Phone),
            (found, _) => {
                let unique: Vec<&str> = to
                    .properties
                    .iter()
                    .filter(|p| p.unique && p.legal != "id")
                    .map(|p| p.legal.as_str())
                    .collect();
                let message = match found {
                    Some(_) => format!("`{by}` of {} is not unique", to.name),
                    None => format!("klass {} has no property `{by}`", to.name),
                };
                self.fault(&under(place, "by"), message, Some(format!("Use one of: {}.", unique.join(", "))));
                return None;
            }
        };
        let Some(from) = self.text(said, "from", place) else {
            if !said.contains_key("from") {
                let remedy = "Add from = \"…\": where its key stands in the record.";
                self.fault(place, "where the link leads is not said", Some(remedy.into()));
            }
            return None;
        };
        let each = match self.text(said, "each", place) {
            Some(text) => Some(self.path(text, above.len(), &under(place, "each"))?),
            None => None,
        };
        if each.is_some() && end.cardinality == Cardinality::One {
            let message = format!("`{}` is one object, and `each` is for several", end.legal);
            self.fault(&under(place, "each"), message, Some("Leave it out.".into()));
            return None;
        }
        // Within `each` one stands a level deeper.
        let depth = above.len() + usize::from(each.is_some());
        let values = self.link_values(said, end, depth, place);
        let from = self.path(from, depth, &under(place, "from"))?;
        if end.cardinality == Cardinality::One && from.text.contains("[]") {
            self.fault(
                &under(place, "from"),
                format!("`{}` is one object, and this is a list", end.legal),
                Some("Take one, as in `ids[0]`.".into()),
            );
            return None;
        }
        Some(LinkRule {
            end: end.clone(),
            to,
            target: Target::Known { each, from, by, values },
        })
    }

    /// How the properties of a link are made.
    fn link_values(&mut self, said: &Table, end: &End, depth: usize, place: &[String]) -> Vec<(Arc<Property>, Expression)> {
        let Some(given) = self.table(said, "properties", place) else {
            return Vec::new();
        };
        let place = under(place, "properties");
        let known = &end.relationship.properties;
        let mut values = Vec::new();
        for (name, said) in given {
            let place = under(&place, name);
            let Some(found) = known.iter().find(|p| p.legal == *name || p.name == *name) else {
                let remedy = match known.as_slice() {
                    [] => "Its links have no properties.".to_owned(),
                    _ => meant(name, known.iter().map(|p| p.legal.as_str())),
                };
                self.fault(&place, format!("links of `{}` have no property `{name}`", end.legal), Some(remedy));
                continue;
            };
            let objects = matches!(found.kind, Kind::Json | Kind::Object(_) | Kind::List(_));
            if let Some(expression) = self.expression(said, depth, objects, &place) {
                values.push((found.clone(), expression));
            }
        }
        values
    }
}

/// The property of this name: as in the schema, or as its author wrote it.
fn property<'k>(klass: &'k Klass, name: &str) -> Option<&'k Arc<Property>> {
    klass.property(name).or_else(|| klass.properties.iter().find(|p| p.name == name))
}

#[cfg(test)]
mod tests;
