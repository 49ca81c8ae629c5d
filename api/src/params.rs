//! The parameters of an operation as clients send them (HTTP bodies, GET queries, `subscribe` messages), checked and typed.

use klio_schema::execute::Request;
use serde_json::{Map, Value};

/// One operation that a client asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    /// The document.
    pub query: String,
    /// Which of its operations.
    pub operation: Option<String>,
    /// Values of its variables.
    pub variables: Map<String, Value>,
    /// Extensions of the protocol.
    pub extensions: Map<String, Value>,
}

impl Params {
    /// From a JSON value: an object with `query`, and perhaps `operationName`, `variables` and `extensions`.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn from_json(value: Value) -> Result<Self, String> {
        let Value::Object(mut object) = value else {
            return Err(format!(
                "The request must be a JSON object with a \"query\"; it is {}.",
                what(&value)
            ));
        };
        let query = match object.remove("query") {
            Some(Value::String(query)) => query,
            // Persisted queries come without one; the gateway's limits decide on them.
            None | Some(Value::Null) => return Err("The parameter \"query\" is missing.".into()),
            Some(other) => return Err(format!("The parameter \"query\" must be a string; it is {}.", what(&other))),
        };
        let operation = match object.remove("operationName") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name).filter(|name| !name.is_empty()),
            Some(other) => return Err(format!("The parameter \"operationName\" must be a string; it is {}.", what(&other))),
        };
        Ok(Self {
            query,
            operation,
            variables: map(object.remove("variables"), "variables")?,
            extensions: map(object.remove("extensions"), "extensions")?,
        })
    }

    /// From the pairs of a GET's query string; `variables` and `extensions` hold JSON.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut object = Map::new();
        for (name, text) in pairs {
            let value = match name.as_str() {
                "query" | "operationName" => Value::String(text),
                "variables" | "extensions" if text.is_empty() => Value::Null,
                "variables" | "extensions" => {
                    serde_json::from_str(&text).map_err(|error| format!("The parameter \"{name}\" is not JSON: {error}."))?
                }
                _ => continue,
            };
            if object.insert(name.clone(), value).is_some() {
                return Err(format!("The parameter \"{name}\" is given twice."));
            }
        }
        Self::from_json(Value::Object(object))
    }
}

impl From<Params> for Request {
    fn from(params: Params) -> Self {
        let Params {
            query,
            operation,
            variables,
            extensions,
        } = params;
        Self {
            query,
            operation,
            variables,
            extensions,
        }
    }
}

fn map(value: Option<Value>, name: &str) -> Result<Map<String, Value>, String> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(other) => Err(format!("The parameter \"{name}\" must be a JSON object; it is {}.", what(&other))),
    }
}

/// What a JSON value is, for a sentence.
pub fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn from_json() {
        let full =
            Params::from_json(json!({"query": "{a}", "operationName": "A", "variables": {"x": 1}, "extensions": {"y": 2}, "other": 3}));
        let full = full.expect("all is right");
        assert_eq!((full.query.as_str(), full.operation.as_deref()), ("{a}", Some("A")));
        assert_eq!(
            (full.variables.get("x"), full.extensions.get("y")),
            (Some(&json!(1)), Some(&json!(2)))
        );
        assert_eq!(
            Params::from_json(json!({"query": "{a}", "operationName": null, "variables": null, "extensions": null})),
            Ok(Params {
                query: "{a}".into(),
                ..Params::default()
            })
        );
        for (wrong, part) in [
            (json!([]), "must be a JSON object"),
            (json!({}), "\"query\" is missing"),
            (json!({"query": null}), "\"query\" is missing"),
            (json!({"query": ["x"]}), "\"query\" must be a string; it is a list"),
            (
                json!({"query": "", "operationName": 0}),
                "\"operationName\" must be a string; it is a number",
            ),
            (
                json!({"query": "", "variables": "x"}),
                "\"variables\" must be a JSON object; it is a string",
            ),
            (
                json!({"query": "", "extensions": false}),
                "\"extensions\" must be a JSON object; it is a boolean",
            ),
        ] {
            let told = Params::from_json(wrong.clone()).expect_err("wrong parameters");
            assert!(told.contains(part), "{wrong}: {told}");
        }
    }

    #[test]
    fn from_pairs() {
        let of = |pairs: &[(&str, &str)]| Params::from_pairs(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect());
        let full = of(&[
            ("query", "{a}"),
            ("variables", "{\"x\":[1]}"),
            ("operationName", ""),
            ("utm", "1"),
            ("utm", "2"),
        ])
        .expect("right");
        assert_eq!(full.variables.get("x"), Some(&json!([1])));
        assert_eq!(full.operation, None);
        for (wrong, part) in [
            (&[("query", "a"), ("variables", "{")][..], "\"variables\" is not JSON"),
            (&[("query", "a"), ("query", "b")][..], "\"query\" is given twice"),
            (&[("variables", "[]"), ("query", "")][..], "must be a JSON object"),
            (&[][..], "\"query\" is missing"),
        ] {
            let told = of(wrong).expect_err("wrong parameters");
            assert!(told.contains(part), "{wrong:?}: {told}");
        }
    }
}
