//! Definitions in, text out. Each case is a folder:
//!
//! - `definitions/passing/<case>/*.toml`: klasses that an org defines in one change, and `registry.txt`: what comes of them;
//! - `definitions/failing/<case>/*.toml`, and `faults.txt`: the sentences that their author reads;
//! - `definitions/changing/<case>/{before,after}/*.toml`, and `changes.txt`: how the second differs from the first.
//!
//! `UPDATE_EXPECT=1 cargo test -p klio-entities --test definitions` writes what is expected anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use klio_entities::klass::change::{self, KlassChange, Planned};
use klio_entities::klass::definition::Definition;
use klio_entities::klass::kind::Kind;
use klio_entities::klass::registry::CustomerLink;
use klio_entities::klass::relationship::{Cardinality, Link, OnDelete, Side};
use klio_entities::klass::{End, Faults, Klass, OrgId, Property, Registry, read};

fn org() -> OrgId {
    OrgId(uuid::Uuid::from_u128(1))
}

fn standard() -> Registry {
    change::empty(org(), "acme").expect("the standard klasses fit together")
}

fn cases(of: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/definitions").join(of);
    let mut out: Vec<_> = fs::read_dir(&root)
        .expect("the cases are there")
        .map(|e| e.expect("a readable entry").path())
        .collect();
    out.sort();
    assert!(!out.is_empty(), "no cases in {}", root.display());
    out
}

/// The definitions of a folder, in the order of their file names; the faults of their form, of all files.
fn definitions(folder: &Path) -> Result<Vec<Definition>, Faults> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("a readable entry").path())
        .collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    assert!(!files.is_empty(), "no definitions in {}", folder.display());
    let (mut read_well, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        match read::from_toml(&fs::read_to_string(&file).expect("a readable file")) {
            Ok(definition) => read_well.push(definition),
            Err(them) => faults.extend(them.0),
        }
    }
    if faults.is_empty() { Ok(read_well) } else { Err(Faults(faults)) }
}

fn plan(before: Option<&Planned>, written: Vec<Definition>) -> Result<Planned, Faults> {
    let changes: Vec<_> = written.into_iter().map(KlassChange::Define).collect();
    match before {
        Some(before) => change::plan(&before.registry, "acme", &before.stored, &changes),
        None => change::plan(&standard(), "acme", &[], &changes),
    }
}

fn compare(file: PathBuf, actual: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, actual).expect("a writable file");
        return;
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    if expected != actual {
        wrong.push(format!("{}\n--- expected\n{expected}--- actual\n{actual}", file.display()));
    }
}

fn settle_accounts(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{}\n(UPDATE_EXPECT=1 writes them anew)", wrong.join("\n"));
}

#[test]
fn passing() {
    let mut wrong = Vec::new();
    for case in cases("passing") {
        match definitions(&case).and_then(|d| plan(None, d)) {
            Ok(planned) => {
                compare(case.join("registry.txt"), &describe(&planned.registry), &mut wrong);
                // what is stored comes back as it was, and makes the same registry
                let json = serde_json::to_string(&planned.stored).expect("definitions are JSON");
                let back: Vec<klio_entities::klass::Stored> = serde_json::from_str(&json).expect("its own JSON");
                assert_eq!(back, planned.stored, "{}", case.display());
                // what was written, as JSON, is read as it was written
                for stored in &planned.stored {
                    assert_eq!(read::from_json(&stored.written.to_json()).as_ref(), Ok(&stored.written));
                }
                // the same again changes nothing
                let again = plan(Some(&planned), definitions(&case).expect("read before")).expect("accepted before");
                assert_eq!(again.changes, [], "{}", case.display());
                assert_eq!(again.stored, planned.stored, "{}", case.display());
            }
            Err(faults) => wrong.push(format!("{}: should pass, but\n{faults}", case.display())),
        }
    }
    settle_accounts(wrong);
}

#[test]
fn failing() {
    let mut wrong = Vec::new();
    for case in cases("failing") {
        match definitions(&case).and_then(|d| plan(None, d)) {
            Ok(_) => wrong.push(format!("{}: should fail", case.display())),
            Err(faults) => compare(case.join("faults.txt"), &format!("{faults}\n"), &mut wrong),
        }
    }
    settle_accounts(wrong);
}

#[test]
fn changing() {
    let mut wrong = Vec::new();
    for case in cases("changing") {
        let before = definitions(&case.join("before")).and_then(|d| plan(None, d));
        let before = before.unwrap_or_else(|faults| panic!("{}: {faults}", case.display()));
        let after = definitions(&case.join("after")).and_then(|d| plan(Some(&before), d));
        let after = after.unwrap_or_else(|faults| panic!("{}: {faults}", case.display()));
        let mut out = String::new();
        for change in &after.changes {
            let kind = format!("{:?}", change.kind);
            let kind = kind.split(['(', ' ']).next().unwrap_or_default();
            let _ = writeln!(out, "{:?} {}: {} [{kind}]", change.class, change.path.join("."), change.message);
        }
        compare(case.join("changes.txt"), &out, &mut wrong);
        compare(case.join("registry.txt"), &describe(&after.registry), &mut wrong);
    }
    settle_accounts(wrong);
}

#[test]
fn the_standard_registry() {
    let mut wrong = Vec::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/definitions/standard.txt");
    let registry = standard();
    let mut out = String::new();
    for klass in &registry.klasses {
        describe_klass(klass, true, &mut out);
    }
    compare(file, &out, &mut wrong);
    settle_accounts(wrong);
}

/// Klasses of the org, and what it adds to standard ones.
fn describe(registry: &Registry) -> String {
    let mut out = String::new();
    for klass in &registry.klasses {
        let touched = !klass.standard || klass.extension.is_some() || klass.ends.iter().any(|e| !e.relationship.standard);
        if touched {
            describe_klass(klass, false, &mut out);
        }
    }
    out
}

fn describe_klass(klass: &Klass, all: bool, out: &mut String) {
    let legal = &klass.legal;
    let off = if klass.enabled { "" } else { " (disabled)" };
    let table = |t: &klio_entities::klass::registry::Table| match &t.schema {
        Some(schema) => format!("{schema}.{}", t.name),
        None => t.name.clone(),
    };
    let _ = write!(
        out,
        "{}: {} {} {} {}_… in {}",
        klass.name,
        legal.type_name,
        legal.field,
        legal.plural,
        klass.id_prefix,
        table(&klass.table)
    );
    if let Some(extension) = &klass.extension {
        let _ = write!(out, " + {}", table(extension));
    }
    let _ = writeln!(out, "{off}");
    let _ = write!(out, "  title {}", klass.title);
    if let Some(timeline) = &klass.timeline {
        let _ = write!(out, ", on the timeline at {}", timeline.at);
    }
    let _ = match &klass.customer {
        CustomerLink::Itself => writeln!(out, ", is the customer"),
        CustomerLink::Through(end) => writeln!(out, ", belongs to a customer through {end}"),
        CustomerLink::None => writeln!(out),
    };
    for p in klass
        .properties
        .iter()
        .filter(|p| !p.system && (all || !klass.standard || !p.standard))
    {
        let _ = writeln!(out, "  {}", describe_property(p));
    }
    for end in klass.ends.iter().filter(|e| all || !klass.standard || !e.relationship.standard) {
        let _ = writeln!(out, "  {}", describe_end(end));
        if end.side == Side::From {
            for p in &end.relationship.properties {
                let _ = writeln!(out, "    {}", describe_property(p));
            }
        }
    }
}

fn describe_property(p: &Property) -> String {
    let mut out = format!("{}: {}", p.legal, kind(&p.kind));
    if p.name != p.legal {
        let _ = write!(out, ", written {}", p.name);
    }
    let _ = write!(out, ", column {}", p.column);
    for (flag, name) in [
        (p.required, "required"),
        (p.unique, "unique"),
        (p.indexed, "indexed"),
        (p.searchable, "searchable"),
        (p.sensitive, "sensitive"),
    ] {
        if flag {
            let _ = write!(out, ", {name}");
        }
    }
    if p.writable != klio_entities::klass::property::Writable::Always {
        let _ = write!(out, ", written by: {:?}", p.writable);
    }
    if let Some(default) = &p.default {
        let _ = write!(out, ", default {}", default.to_json());
    }
    let v = &p.validation;
    for (name, bound) in [("min", &v.min), ("max", &v.max)] {
        if let Some(bound) = bound {
            let _ = write!(out, ", {name} {}", bound.to_json());
        }
    }
    for (name, bound) in [("minLength", v.min_length), ("maxLength", v.max_length)] {
        if let Some(bound) = bound {
            let _ = write!(out, ", {name} {bound}");
        }
    }
    if let Some(pattern) = &v.pattern {
        let _ = write!(out, ", pattern {pattern}");
    }
    for alias in &p.aliases {
        let _ = write!(out, ", formerly {}", alias.legal);
    }
    if let Some(reason) = &p.deprecated {
        let _ = write!(out, ", deprecated: {reason}");
    }
    out
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Enum(e) if e.type_name.is_none() => {
            let values: Vec<_> = e.values.iter().map(|v| format!("{}={}", v.legal, v.value)).collect();
            format!("enum({})", values.join(" "))
        }
        Kind::Tree { paths } => format!("tree({})", paths.join(" ")),
        Kind::Object(o) if o.type_name.is_none() => {
            let parts: Vec<_> = o
                .parts
                .iter()
                .map(|p| format!("{}{}: {}", p.name, if p.required { "!" } else { "" }, self::kind(&p.kind)))
                .collect();
            format!("object({})", parts.join(" "))
        }
        Kind::List(item) => format!("list of {}", self::kind(item)),
        other => other.name(),
    }
}

fn describe_end(end: &End) -> String {
    let r = &end.relationship;
    let arrow = match end.cardinality {
        Cardinality::One => "->",
        Cardinality::Many => "->>",
    };
    let mut out = format!("{} {arrow} {}", end.legal, end.to.join("|"));
    if end.side == Side::To {
        let _ = write!(out, ", the other end of {}.{}", r.klass, r.name);
    } else {
        let _ = match &r.link {
            Link::Column {
                column,
                klass_column,
                home,
            } => {
                let klass_column = klass_column.as_ref().map_or(String::new(), |c| format!(" and {c}"));
                write!(out, ", column {column}{klass_column} ({home:?})")
            }
            Link::Table { table } => write!(
                out,
                ", table {}{}",
                table.schema.as_ref().map_or(String::new(), |s| format!("{s}.")),
                table.name
            ),
        };
        if r.inverse_cardinality == Cardinality::One {
            out.push_str(", one each");
        }
        if r.required {
            out.push_str(", required");
        }
        let on_delete = match r.on_delete {
            OnDelete::Restrict => ", restrict",
            OnDelete::Cascade => ", cascade",
            OnDelete::Unlink => "",
        };
        out.push_str(on_delete);
    }
    for alias in &end.aliases {
        let _ = write!(out, ", formerly {}", alias.legal);
    }
    if let Some(reason) = &end.deprecated {
        let _ = write!(out, ", deprecated: {reason}");
    }
    out
}
