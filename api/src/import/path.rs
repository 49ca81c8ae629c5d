//! Where in a record a value stands: `name.first`, `items[].price`, `lines[0]`, `'odd.key'.x`, `@key`, `^.order_id`.

use serde_json::Value as Json;

/// A record, and where it stands: what paths are looked up in.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The record.
    pub record: &'a Json,
    /// Its key, when it stands in an object of records.
    pub key: Option<&'a str>,
    /// Its place among its siblings, from 0.
    pub index: u64,
    /// Its line in the file, where a record is a line.
    pub line: Option<u64>,
    /// The record within which it stands.
    pub parent: Option<&'a Scope<'a>>,
}

/// A path, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// As it was written.
    pub text: String,
    /// How many records up it begins.
    up: usize,
    root: Root,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Record,
    Key,
    Index,
    Line,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    At(usize),
    Each,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// Why it is none, in a sentence.
    pub fn read(text: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("`{text}` is not a path: {why}"));
        let mut rest = text.trim();
        let mut up = 0;
        while let Some(further) = rest.strip_prefix("^.") {
            up += 1;
            rest = further;
        }
        let mut path = Path {
            text: text.to_owned(),
            up,
            root: Root::Record,
            steps: Vec::new(),
        };
        if let Some(special) = rest.strip_prefix('@') {
            path.root = match special {
                "key" => Root::Key,
                "index" => Root::Index,
                "line" => Root::Line,
                "value" => Root::Record,
                _ => return bad("after @ comes key, index, line or value"),
            };
            return Ok(path);
        }
        if rest.is_empty() {
            return bad("it names nothing");
        }
        loop {
            let (name, behind) = match rest.strip_prefix('\'') {
                Some(quoted) => match quoted.split_once('\'') {
                    Some(parts) => parts,
                    None => return bad("a quote is not closed"),
                },
                None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
            };
            if name.is_empty() {
                return bad("a step has no name");
            }
            path.steps.push(Step::Field(name.to_owned()));
            rest = behind;
            while let Some(inner) = rest.strip_prefix('[') {
                let Some((at, behind)) = inner.split_once(']') else {
                    return bad("a [ is not closed");
                };
                path.steps.push(match (at, at.parse()) {
                    ("", _) => Step::Each,
                    (_, Ok(at)) => Step::At(at),
                    _ => return bad("between [ and ] comes a number, or nothing for all"),
                });
                rest = behind;
            }
            match rest.strip_prefix('.') {
                Some(further) => rest = further,
                None if rest.is_empty() => return Ok(path),
                None => return bad("a step ends with . or ["),
            }
        }
    }

    /// How many records up it begins.
    pub fn levels_up(&self) -> usize {
        self.up
    }

    /// What stands there; `None` when nothing does. With `[]` it is a list of all that stand there.
    pub fn get(&self, scope: &Scope<'_>) -> Option<Json> {
        let mut scope = scope;
        for _ in 0..self.up {
            scope = scope.parent?;
        }
        match self.root {
            Root::Key => scope.key.map(Json::from),
            Root::Index => Some(Json::from(scope.index)),
            Root::Line => scope.line.map(Json::from),
            Root::Record => walk(scope.record, &self.steps),
        }
    }

    /// What stands there, not copied; `None` when nothing does, or when it is a list put together or a place.
    pub fn see<'a>(&self, scope: &Scope<'a>) -> Option<&'a Json> {
        let mut scope = *scope;
        for _ in 0..self.up {
            scope = *scope.parent?;
        }
        if self.root != Root::Record {
            return None;
        }
        self.steps.iter().try_fold(scope.record, |json, step| match step {
            Step::Field(name) => json.get(name),
            Step::At(at) => json.get(at),
            Step::Each => None,
        })
    }
}

fn walk(json: &Json, steps: &[Step]) -> Option<Json> {
    match steps.split_first() {
        None => Some(json.clone()),
        Some((Step::Field(name), rest)) => walk(json.get(name)?, rest),
        Some((Step::At(at), rest)) => walk(json.get(at)?, rest),
        Some((Step::Each, rest)) => match json {
            Json::Array(items) => Some(items.iter().filter_map(|item| walk(item, rest)).collect()),
            Json::Object(items) => Some(items.values().filter_map(|item| walk(item, rest)).collect()),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        let order = json!({"id": 7, "items": [{"price": 1.5}, {"price": 2}, {}], "to": {"odd.key": "x"}});
        let above = Scope {
            record: &order,
            key: Some("#7"),
            index: 3,
            line: None,
            parent: None,
        };
        let item = json!({"price": 1.5});
        let scope = Scope {
            record: &item,
            key: None,
            index: 1,
            line: Some(9),
            parent: Some(&above),
        };
        let get = |text: &str, scope: &Scope<'_>| Path::read(text).expect("a path").get(scope);
        assert_eq!(get("items[].price", &above), Some(json!([1.5, 2])));
        assert_eq!(get("items[1].price", &above), Some(json!(2)));
        assert_eq!(get("items[9].price", &above), None);
        assert_eq!(get("to.'odd.key'", &above), Some(json!("x")));
        assert_eq!(get("@key", &above), Some(json!("#7")));
        assert_eq!(get("^.id", &scope), Some(json!(7)));
        assert_eq!(get("^.@index", &scope), Some(json!(3)));
        assert_eq!(get("@line", &scope), Some(json!(9)));
        assert_eq!(get("^.^.id", &scope), None);
        for bad in ["", "a..b", "a[", "a[x]", "@nothing", "'a", "^.", "a[0]b"] {
            assert!(Path::read(bad).is_err(), "{bad}");
        }
    }
}
