//! Cases: a folder of numbered operations, each with the answer that it must have beside it.
//!
//! `01-create.graphql` is sent with `01-create.variables.json` (if there is one); the answer must equal `01-create.json` once
//! ids and moments are named (see [`crate::normal`]). `{{01.createOrder.order.id}}` in a later operation or its variables is
//! a value from an earlier answer's data. With `UPDATE_EXPECT=1` the answers are written instead of compared.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::{Product, normal::Names};

/// Runs one case.
///
/// # Errors
/// Each step whose answer is another than expected.
pub async fn run(product: &Product, folder: &Path) -> Result<usize, Vec<String>> {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut answers: HashMap<String, Json> = HashMap::new();
    let mut names = Names::default();
    let mut faults = Vec::new();
    let steps = steps(folder);
    for step in &steps {
        let text = |extension: &str| fs::read_to_string(step.with_extension(extension));
        let query = fill(&text("graphql").expect("a step has an operation"), &answers);
        let variables = text("variables.json").map_or(json!({}), |v| {
            serde_json::from_str(&fill(&v, &answers)).expect("variables are JSON")
        });
        let answer = product.ask(&query, variables).await;
        let number = step.file_name().map(|n| n.to_string_lossy()[..2].to_owned()).unwrap_or_default();
        answers.insert(number, answer.clone());
        let mut named = answer;
        names.apply(&mut named);
        let got = format!("{named:#}\n");
        let expected = step.with_extension("json");
        if update {
            fs::write(&expected, &got).expect("the answer is written");
        } else {
            let wanted = fs::read_to_string(&expected).unwrap_or_default();
            if wanted != got {
                faults.push(format!(
                    "{}\n--- expected\n{wanted}--- got on {:?}\n{got}",
                    expected.display(),
                    product.backend
                ));
            }
        }
    }
    if faults.is_empty() { Ok(steps.len()) } else { Err(faults) }
}

fn steps(folder: &Path) -> Vec<PathBuf> {
    let mut steps: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a case is a folder")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "graphql"))
        .collect();
    steps.sort();
    steps
}

/// Puts earlier answers' values into a text.
fn fill(text: &str, answers: &HashMap<String, Json>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (path, after) = behind.split_once("}}").expect("a placeholder ends");
        let (number, path) = path.split_once('.').expect("a placeholder names a step and a path");
        let answer = answers.get(number).unwrap_or_else(|| panic!("there is no step {number}"));
        let pointer = format!("/data/{}", path.replace('.', "/"));
        let value = answer
            .pointer(&pointer)
            .unwrap_or_else(|| panic!("step {number} has no {path}: {answer:#}"));
        out.push_str(before);
        match value {
            Json::String(text) => out.push_str(text),
            other => out.push_str(&other.to_string()),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
