//! Puts GraphiQL's files into the program when they were built (`api/graphiql/dist`, by `npm run build` there).

use std::path::Path;
use std::{env, fs};

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let dist = Path::new(&root).join("graphiql/dist");
    // The folder too: files may be added to it, and it may come to be.
    println!("cargo::rerun-if-changed={}", dist.display());
    println!("cargo::rerun-if-changed=graphiql/index.html");
    println!("cargo::rerun-if-changed=graphiql/cdn.html");
    let mut files = Vec::new();
    for entry in fs::read_dir(&dist).into_iter().flatten().flatten() {
        let path = entry.path();
        println!("cargo::rerun-if-changed={}", path.display());
        // Kept compressed: a quarter of the size in the program and on the wire.
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".gz"))
        else {
            continue;
        };
        let content_type = match name.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => continue,
        };
        files.push(format!(
            "    ({name:?}, {content_type:?}, include_bytes!({:?})),\n",
            path.display().to_string()
        ));
    }
    files.sort();
    let text = format!(
        "/// (name, content type, bytes compressed with gzip), by name.\nconst FILES: &[(&str, &str, &[u8])] = &[\n{}];\n",
        files.concat()
    );
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("graphiql.rs");
    fs::write(out, text).expect("the build's own folder is writable");
}
