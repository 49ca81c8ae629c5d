//! The `klio` command as scripts use it: what goes where, and the exit codes.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn klio(folder: &Path, args: &[&str]) -> Output {
    // An environment of its own: settings of whoever runs the tests are not the test's.
    Command::new(env!("CARGO_BIN_EXE_klio"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the command runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("what it prints is text")
}

/// (exit code, stdout, stderr)
fn said(output: &Output) -> (i32, &str, &str) {
    (
        output.status.code().expect("it ends by itself"),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn data_on_stdout_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| klio(dir.path(), args);
    let made = run(&["org", "create", "acme", "--name", "Acme Inc"]);
    assert_eq!(said(&made), (0, "acme\n", ""));
    assert_eq!(said(&run(&["org", "create", "acme", "--if-missing"])), (0, "acme\n", ""));
    let again = run(&["org", "create", "acme"]);
    assert_eq!((said(&again).0, said(&again).1), (1, ""));

    let token = run(&[
        "token",
        "create",
        "--org",
        "acme",
        "--role",
        "agent",
        "--expires",
        "30d",
        "--name",
        "shop",
    ]);
    let (code, out, err) = said(&token);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.starts_with("klio_") && out.ends_with('\n') && out.lines().count() == 1 && out.len() == 58,
        "{out:?}"
    );
    assert!(!err.contains(out.trim()), "the token is on stdout alone");
    let list = run(&["token", "list"]);
    let (code, out, _) = said(&list);
    assert_eq!(code, 0);
    let line = out.lines().nth(1).expect("one token");
    assert!(
        line.contains("acme") && line.contains("agent") && line.contains("valid") && line.ends_with("shop"),
        "{out}"
    );
    assert!(!out.contains("klio_"), "a list holds no secrets");
    let id = line.split_whitespace().next().expect("an id").to_owned();
    assert_eq!(
        said(&run(&["token", "revoke", "--org", "acme", "shop"])),
        (0, format!("{id}\n").as_str(), "")
    );
    let again = run(&["token", "revoke", "--org", "acme", &id]);
    assert_eq!((said(&again).0, said(&again).1), (1, ""));

    let sdl = run(&["schema", "print", "--org", "acme"]);
    let (code, out, err) = said(&sdl);
    assert_eq!((code, err), (0, ""));
    assert!(out.contains("type Query {") && out.contains("type Customer implements"), "{out}");
    assert_eq!(said(&run(&["migrate"])).1, "");
}

#[test]
fn an_operation_is_explained() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| klio(dir.path(), args);
    assert_eq!(said(&run(&["org", "create", "acme"])).0, 0);
    let document =
        "query Mine($name: String!) { customers(filter: {name: {eq: $name}}) { totalCount nodes { email conversations { totalCount } } } }";
    std::fs::write(dir.path().join("mine.graphql"), document).expect("a file");
    std::fs::write(dir.path().join("mine.json"), "{\"name\": \"Ann\"}").expect("a file");
    let told = run(&["explain", "mine.graphql", "--variables", "@mine.json", "--analyze", "--sql"]);
    let (code, out, err) = said(&told);
    assert_eq!((code, err), (0, ""), "{out}");
    assert!(out.starts_with("customers: 1 statement, at most "), "{out}");
    for part in ["Conversation: by customer", "the database's plan, run in ", "  statement: select "] {
        assert!(out.contains(part), "no {part:?} in\n{out}");
    }
    let missing = run(&["explain", "mine.graphql"]);
    assert_eq!((said(&missing).0, said(&missing).1), (1, ""));
    let wrong = run(&["explain", "mine.graphql", "--variables", "[]"]);
    assert_eq!((said(&wrong).0, said(&wrong).1), (2, ""));
    std::fs::write(dir.path().join("wrong.graphql"), "{ customers {\n  nope\n} }").expect("a file");
    let wrong = run(&["explain", "wrong.graphql"]);
    let (code, out, err) = said(&wrong);
    assert_eq!((code, out), (1, ""));
    assert!(err.contains("2:3:") && err.contains("nope"), "{err}");
}

#[test]
fn wrong_words_and_settings_are_2_with_all_that_is_allowed() {
    let dir = tempfile::tempdir().expect("a folder");
    let nothing = klio(dir.path(), &["token", "create", "--org", "acme", "--role", "god"]);
    let (code, out, err) = said(&nothing);
    assert_eq!((code, out), (2, ""));
    assert!(err.contains("reader, agent, admin, owner"), "{err}");
    std::fs::write(dir.path().join("klio.toml"), "[http]\nlistn = \"x\"\n[log]\nformat = \"xml\"\n").expect("a file");
    let settings = klio(dir.path(), &["serve", "--set", "limits.depth=0"]);
    let (code, out, err) = said(&settings);
    assert_eq!((code, out), (2, ""));
    for part in [
        "http.listn: no such setting; did you mean http.listen?",
        "\"xml\" is not human or json",
        "limits.depth: \"0\" is not a whole number from 1",
    ] {
        assert!(err.contains(part), "{part} is not in\n{err}");
    }
    let org = klio(dir.path(), &["--config", "/nonexistent", "org", "list"]);
    assert_eq!(said(&org).0, 2);
}

#[test]
fn a_database_that_is_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let behind = klio(dir.path(), &["migrate", "--dry-run"]);
    let (code, out, _) = said(&behind);
    assert_eq!(code, 3);
    assert!(out.lines().count() > 0 && out.starts_with("m0001"), "{out}");
    let refused = klio(dir.path(), &["org", "list", "--set", "database.migrate=false"]);
    let (code, _, err) = said(&refused);
    assert_eq!(code, 1);
    assert!(err.contains("run `klio migrate`"), "{err}");
    let done = klio(dir.path(), &["migrate"]);
    assert_eq!(said(&done).0, 0);
    assert_eq!(said(&done).1, out);
    let fine = klio(dir.path(), &["org", "list", "--set", "database.migrate=false"]);
    assert_eq!(said(&fine).0, 0);
}

#[test]
fn klasses_by_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = |args: &[&str]| klio(dir.path(), args);
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("a file");
    run(&["org", "create", "acme"]);
    write(
        "order.toml",
        "name = \"order\"\ntitle = \"{number}\"\n[properties]\nnumber = { kind = \"string\", unique = true }\ntotal = { kind = \"money\" }\n",
    );
    write("plan.json", r#"{"name": "plan", "properties": {"level": {"kind": "integer"}}}"#);
    let diff = run(&["klass", "diff", "order.toml", "plan.json"]);
    let (code, out, _) = said(&diff);
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");
    assert!(out.lines().all(|line| line.starts_with("safe ")), "{out}");
    assert!(!said(&run(&["klass", "list"])).1.contains("order"), "a diff changes nothing");
    assert_eq!(said(&run(&["klass", "apply", "--dry-run", "order.toml", "plan.json"])).1, out);
    let done = run(&["klass", "apply", "--org", "acme", "order.toml", "plan.json"]);
    assert_eq!((said(&done).0, said(&done).1), (0, out));
    let list = run(&["klass", "list"]);
    let line = said(&list)
        .1
        .lines()
        .find(|line| line.starts_with("order "))
        .expect("the klass is listed");
    assert!(line.contains("Order") && line.contains("own") && line.contains("enabled"), "{line}");
    let again = run(&["klass", "apply", "order.toml"]);
    assert_eq!((said(&again).0, said(&again).1), (0, ""));
    assert!(
        said(&run(&["schema", "print", "--org", "acme"]))
            .1
            .contains("type Order implements")
    );

    // All that is wrong, in all files.
    write(
        "bad.toml",
        "name = \"bad\"\ncolour = \"red\"\n[properties]\nx = { knd = \"string\" }\n",
    );
    write("worse.toml", "name = ");
    let bad = run(&["klass", "apply", "bad.toml", "worse.toml", "nowhere.toml"]);
    let (code, out, err) = said(&bad);
    assert_eq!((code, out), (1, ""));
    for part in [
        "bad.toml: klasses.bad.colour",
        "bad.toml: klasses.bad.properties.x.knd",
        "worse.toml: ",
        "nowhere.toml: ",
    ] {
        assert!(err.contains(part), "{part} is not in\n{err}");
    }
    // Breaking: refused, then forced.
    write(
        "order.toml",
        "name = \"order\"\ntitle = \"{number}\"\n[properties]\nnumber = { kind = \"string\", unique = true }\n",
    );
    for args in [
        &["klass", "diff", "order.toml"][..],
        &["klass", "apply", "order.toml"],
        &["klass", "apply", "--dry-run", "order.toml"],
    ] {
        let refused = run(args);
        let (code, out, err) = said(&refused);
        assert_eq!(code, 3, "{args:?}: {err}");
        assert!(
            out.is_empty() || out.starts_with("breaking  order.properties.total"),
            "{args:?}: {out}"
        );
        assert!(err.contains("--force"), "{err}");
    }
    let forced = run(&["klass", "apply", "--force", "order.toml"]);
    assert_eq!(said(&forced).0, 0, "{}", said(&forced).2);
    let healthy = run(&["doctor"]);
    assert_eq!((said(&healthy).0, said(&healthy).1), (0, ""), "{}", said(&healthy).2);
    run(&["org", "create", "other"]);
    let which = run(&["klass", "list"]);
    assert_eq!(said(&which).0, 2);
    assert!(said(&which).2.contains("acme, other"));
}

#[test]
fn help_teaches() {
    let dir = tempfile::tempdir().expect("a folder");
    let help = klio(dir.path(), &["--help"]);
    let (code, out, _) = said(&help);
    assert_eq!(code, 0);
    for part in ["serve", "token", "Exit codes:", "First steps:"] {
        assert!(out.contains(part), "{part}");
    }
    let settings = klio(dir.path(), &["settings"]);
    let (code, out, _) = said(&settings);
    assert_eq!(code, 0);
    // What it prints can be used as it is.
    std::fs::write(dir.path().join("mine.toml"), out).expect("a file");
    assert_eq!(said(&klio(dir.path(), &["--config", "mine.toml", "org", "list"])).0, 0);
}

/// A gateway of its own process.
struct Served {
    child: std::process::Child,
    log: BufReader<std::process::ChildStderr>,
    /// What it said until it served.
    before: String,
    address: String,
}

fn serve(folder: &Path, settings: &[&str]) -> Served {
    let mut child = Command::new(env!("CARGO_BIN_EXE_klio"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(settings.iter().flat_map(|it| ["--set", it]))
        .current_dir(folder)
        .env_clear()
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("a log"));
    let mut before = String::new();
    let address = loop {
        assert!(log.read_line(&mut before).expect("a line") > 0, "it ended:\n{before}");
        if let Some(address) = before.lines().find_map(|line| line.trim().strip_prefix("listen    ")) {
            break address.to_owned();
        }
    };
    Served {
        child,
        log,
        before,
        address,
    }
}

/// The whole answer to an operation.
fn post(address: &str, token: &str, body: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).expect("it serves");
    write!(
        stream,
        "POST /graphql HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Tokens of an identity provider, signed with RSA and with Ed25519, whose public keys are in a JWKS file.
#[test]
fn whom_a_jwks_file_vouches_for() {
    let dir = tempfile::tempdir().expect("a folder");
    klio(dir.path(), &["org", "create", "acme"]);
    std::fs::write(dir.path().join("keys.json"), include_str!("keys/jwks.json")).expect("a file");
    let mut served = serve(dir.path(), &["auth.jwt_jwks=keys.json"]);
    let body = r#"{"query":"{ viewer { name role org } customers { totalCount } }"}"#;
    for token in [include_str!("keys/rs256.jwt"), include_str!("keys/eddsa.jwt")] {
        let answer = post(&served.address, token, body);
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("\"totalCount\":0"),
            "{answer}"
        );
        assert!(answer.contains("Una") && answer.contains("AGENT"), "{answer}");
        // What its role forbids is forbidden.
        let define = r#"{"query":"mutation { defineKlass(input: {name: \"x\"}) { applied errors { code } } }"}"#;
        let answer = post(&served.address, token, define);
        assert!(answer.contains("FORBIDDEN"), "{answer}");
        // Another signature, another algorithm in the header, a key that is not in the file.
        let parts: Vec<&str> = token.split('.').collect();
        let [head, claims, signature] = parts.as_slice() else {
            panic!("three parts")
        };
        let other = if token == include_str!("keys/rs256.jwt") {
            include_str!("keys/eddsa.jwt")
        } else {
            include_str!("keys/rs256.jwt")
        };
        let other_head = other.split('.').next().expect("a head");
        for forged in [
            format!("{head}.{claims}.{}", signature.chars().rev().collect::<String>()),
            format!("{other_head}.{claims}.{signature}"),
            format!("{head}.{}.{signature}", claims.replacen('e', "f", 1)),
        ] {
            let answer = post(&served.address, &forged, body);
            assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        }
    }
    served.child.kill().expect("it can be ended");
    served.child.wait().expect("it ends");
}

#[test]
fn it_ends_in_good_order_on_a_signal_and_no_secret_is_in_its_log() {
    let dir = tempfile::tempdir().expect("a folder");
    klio(dir.path(), &["org", "create", "acme"]);
    let token = text(&klio(dir.path(), &["token", "create", "--org", "acme", "--role", "admin"]).stdout)
        .trim()
        .to_owned();
    let Served {
        mut child,
        mut log,
        before,
        address,
    } = serve(dir.path(), &["log.level=trace", "log.format=json"]);
    let body = r#"{"query":"query Mine($secret: String) { customers(filter: {name: {eq: $secret}}) { totalCount } }","variables":{"secret":"Zebulon"}}"#;
    let answer = post(&address, &token, body);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"totalCount\":0"),
        "{answer}"
    );

    let ended = Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
    assert!(ended.success());
    let mut rest = String::new();
    log.read_to_string(&mut rest).expect("the rest of the log");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0), "{rest}");
    let mut out = String::new();
    child.stdout.take().expect("its output").read_to_string(&mut out).expect("text");
    assert_eq!(out, "", "a server prints no data");
    let all = format!("{before}{rest}");
    let line = rest
        .lines()
        .find(|line| line.contains("\"operation\":\"Mine\""))
        .unwrap_or_else(|| panic!("no line of the request in\n{rest}"));
    for part in ["\"status\":200", "\"statements\":1", "\"cost\":", "\"rows\":", "\"ms\":"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    for secret in [token.as_str(), "Zebulon", "$secret"] {
        assert!(!all.contains(secret), "{secret} is in the log:\n{all}");
    }
}
