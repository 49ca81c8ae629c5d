//! Types as text, in the schema definition language: `GET /schema.graphql`, `klio schema print`, `schema/standard.graphql`.

use std::fmt::Write;

use crate::types::model::{Argument, Field, ObjectType, Text, Type, Types};

/// The whole schema, types in the order of their names, fields in the order of their making.
pub fn print(types: &Types) -> String {
    let mut out = Printer(String::with_capacity(1 << 16));
    let mut all: Vec<&Type> = types
        .types
        .values()
        .filter(|t| !matches!(t, Type::Scalar(s) if s.built_in))
        .collect();
    all.sort_by_key(|ty| (rank(ty), ty.name()));
    for ty in all {
        out.one(ty);
    }
    out.0
}

/// Some types alone, by name, in this order: for tests and for people.
pub fn print_some(types: &Types, names: &[&str]) -> String {
    let mut out = Printer(String::new());
    for name in names {
        if let Some(ty) = types.types.get(*name) {
            out.one(ty);
        }
    }
    out.0
}

/// Root types first.
fn rank(ty: &Type) -> u8 {
    match ty.name() {
        "Query" => 0,
        "Mutation" => 1,
        "Subscription" => 2,
        _ => 3,
    }
}

struct Printer(String);

impl Printer {
    fn one(&mut self, ty: &Type) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        match ty {
            Type::Object(it) => self.object(it),
            Type::Union(it) => {
                self.described(&it.description, "");
                self.line(format_args!("union {} = {}", it.name, it.members.join(" | ")));
            }
            Type::Enum(it) => {
                self.described(&it.description, "");
                self.line(format_args!("enum {} {{", it.name));
                for (name, value) in &it.values {
                    self.described(&value.description, "  ");
                    self.0.push_str("  ");
                    self.0.push_str(name);
                    self.deprecated(&value.deprecated);
                    self.0.push('\n');
                }
                self.0.push_str("}\n");
            }
            Type::Input(it) => {
                self.described(&it.description, "");
                self.line(format_args!("input {}{} {{", it.name, if it.one_of { " @oneOf" } else { "" }));
                for field in it.fields.values() {
                    self.described(&field.description, "  ");
                    self.0.push_str("  ");
                    self.argument(field);
                    self.0.push('\n');
                }
                self.0.push_str("}\n");
            }
            Type::Scalar(it) => {
                self.described(&it.description, "");
                self.push(format_args!("scalar {}", it.name));
                if let Some(url) = &it.specified_by {
                    self.0.push_str(" @specifiedBy(url: ");
                    self.quoted(url);
                    self.0.push(')');
                }
                self.0.push('\n');
            }
        }
    }

    fn object(&mut self, it: &ObjectType) {
        self.described(&it.description, "");
        self.push(format_args!("{} {}", if it.interface { "interface" } else { "type" }, it.name));
        if !it.implements.is_empty() {
            self.push(format_args!(" implements {}", it.implements.join(" & ")));
        }
        self.0.push_str(" {\n");
        for field in it.fields.values() {
            self.field(field);
        }
        self.0.push_str("}\n");
    }

    fn field(&mut self, field: &Field) {
        self.described(&field.description, "  ");
        self.push(format_args!("  {}", field.name));
        if !field.args.is_empty() {
            self.0.push_str("(\n");
            for arg in &field.args {
                self.described(&arg.description, "    ");
                self.0.push_str("    ");
                self.argument(arg);
                self.0.push('\n');
            }
            self.0.push_str("  )");
        }
        self.push(format_args!(": {}", field.ty));
        self.deprecated(&field.deprecated);
        self.0.push('\n');
    }

    fn argument(&mut self, arg: &Argument) {
        self.push(format_args!("{}: {}", arg.name, arg.ty));
        if let Some(default) = &arg.default {
            self.push(format_args!(" = {default}"));
        }
        self.deprecated(&arg.deprecated);
    }

    fn described(&mut self, text: &Option<Text>, indent: &str) {
        let Some(text) = text.as_deref().filter(|t| !t.is_empty()) else {
            return;
        };
        if text.contains(['\n', '"', '\\']) {
            let text = text.replace("\"\"\"", "\\\"\"\"");
            self.push(format_args!("{indent}\"\"\"\n"));
            for line in text.lines() {
                self.push(format_args!("{indent}{line}\n"));
            }
            self.push(format_args!("{indent}\"\"\"\n"));
        } else {
            self.push(format_args!("{indent}\"{text}\"\n"));
        }
    }

    fn deprecated(&mut self, reason: &Option<Text>) {
        if let Some(reason) = reason {
            self.0.push_str(" @deprecated(reason: ");
            self.quoted(reason);
            self.0.push(')');
        }
    }

    /// A string literal: JSON's escapes are GraphQL's.
    fn quoted(&mut self, text: &str) {
        match serde_json::to_string(text) {
            Ok(quoted) => self.0.push_str(&quoted),
            // A string always serialises.
            Err(_) => self.0.push_str("\"\""),
        }
    }

    fn push(&mut self, args: std::fmt::Arguments<'_>) {
        // Writing to a String never fails.
        let _ = self.0.write_fmt(args);
    }

    fn line(&mut self, args: std::fmt::Arguments<'_>) {
        self.push(args);
        self.0.push('\n');
    }
}
