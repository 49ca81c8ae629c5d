//! The house's own rules: who may know whom, what must never be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}

/// Each crate and the crates of ours that it may name; development dependencies count too.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("migrations", &[]),
    ("entities", &["klio-migrations"]),
    ("subscriptions", &["klio-entities"]),
    ("schema", &["klio-entities", "klio-subscriptions"]),
    ("api", &["klio-entities", "klio-subscriptions", "klio-schema", "klio-migrations"]),
    ("clients/rust", &[]),
    ("tests", &["klio-api", "klio-client"]),
    ("tests/bench", &[]),
];

#[test]
fn each_crate_knows_only_those_on_its_left() {
    let mut faults = Vec::new();
    for (folder, allowed) in MAY_KNOW {
        let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("every pillar has a manifest");
        for line in text.lines() {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if name.starts_with("klio-") && !allowed.contains(&name) {
                faults.push(format!("{folder} names {name}; it may know {allowed:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_crate_in_the_workspace_is_in_the_table() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let members = text
        .lines()
        .find(|l| l.starts_with("members"))
        .expect("the workspace lists its members");
    let known: BTreeMap<_, _> = MAY_KNOW.iter().copied().collect();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(known.contains_key(member), "{member} is not in the table of who may know whom");
    }
}

#[test]
fn versions_are_stated_once() {
    let mut faults = Vec::new();
    for (folder, _) in MAY_KNOW {
        let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("every pillar has a manifest");
        for line in text.lines().filter(|l| l.contains('=') && l.contains("version =")) {
            faults.push(format!("{folder}: {line}"));
        }
    }
    assert!(faults.is_empty(), "versions belong into the root manifest:\n{}", faults.join("\n"));
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && !["target", "node_modules"].contains(&entry.file_name().to_string_lossy().as_ref()) {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn klasses_do_no_input_or_output() {
    let mut files = Vec::new();
    rust_files(&root().join("entities/src/klass"), &mut files);
    assert!(files.len() > 10, "the klass folder is where it should be");
    let mut faults = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file is readable");
        // What stands behind the tests' own attribute may read its cases.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for banned in [
            "std::fs", "std::net", "std::io", "std::env", "tokio", "sea_orm", "sqlx", "rusqlite", "reqwest", "async fn",
        ] {
            if code.contains(banned) {
                faults.push(format!("{}: {banned}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "entities/src/klass is pure:\n{}", faults.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    let faults: Vec<_> = files
        .iter()
        .filter(|f| !fs::read_to_string(f).is_ok_and(|text| text.starts_with("//!")))
        .map(|f| f.display().to_string())
        .collect();
    assert!(faults.is_empty(), "files without a caption line:\n{}", faults.join("\n"));
}

#[test]
fn the_schema_holds_no_sql_and_no_http() {
    let mut files = Vec::new();
    rust_files(&root().join("schema/src"), &mut files);
    let mut faults = Vec::new();
    // Tests in files and folders of their own (`write_tests/`) make databases to run on.
    let of_tests = |file: &Path| {
        file.iter()
            .any(|step| step.to_string_lossy().trim_end_matches(".rs").ends_with("tests"))
    };
    for file in files
        .into_iter()
        .filter(|file| !of_tests(file.strip_prefix(root()).unwrap_or(file)))
    {
        let text = fs::read_to_string(&file).expect("a source file is readable");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (i, line) in code.lines().enumerate() {
            let line = line.trim_start();
            if !line.starts_with("//")
                && ["SELECT ", "INSERT INTO", "axum", "sea_orm", "rusqlite"]
                    .iter()
                    .any(|b| line.contains(b))
            {
                faults.push(format!("{}:{}: {line}", file.display(), i + 1));
            }
        }
    }
    assert!(faults.is_empty(), "no SQL text and no HTTP in schema/:\n{}", faults.join("\n"));
}
