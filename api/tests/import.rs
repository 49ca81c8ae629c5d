//! `klio import` as scripts and people use it: exit codes, what is told where, the bar on a terminal, and a kill in the middle.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use klio_entities::store::{Store, StoreConfig};

const PERSON: &str = r#"
name = "person"
plural = "people"
[properties]
name = { kind = "string", required = true }
age = { kind = "integer", min = 0 }
[relationships]
boss = { to = "person", kind = "one", inverse = "reports" }
"#;

const MAP: &str = r#"
klass = "person"
[properties]
externalId = "id"
name = "name"
age = "age"
[links]
boss = { from = "boss" }
"#;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        place.put("person.toml", PERSON);
        place.put("map.toml", MAP);
        assert_eq!(place.run(&["org", "create", "acme"]).status.code(), Some(0));
        assert_eq!(place.run(&["klass", "apply", "person.toml"]).status.code(), Some(0));
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("a file");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_klio"));
        command.args(args).output().expect("the command runs")
    }

    /// Exit code, stdout, stderr.
    fn import(&self, file: &str, more: &[&str]) -> (i32, String, String) {
        let mut args = vec!["import", file, "--klass", "person", "--map", "map.toml"];
        args.extend(more);
        let output = self.run(&args);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        (
            output.status.code().expect("it ends by itself"),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// So many records, of which each but the first is tied to the one before it.
    fn people(&self, name: &str, many: usize) {
        let line = |i: usize| {
            let boss = i.checked_sub(1);
            format!("{}\n", serde_json::json!({ "id": i, "name": format!("P{i}"), "boss": boss }))
        };
        self.put(name, &(0..many).map(line).collect::<String>());
    }
}

#[test]
fn what_is_told_where_and_with_which_exit_code() {
    let place = Place::new();
    place.put(
        "people.ndjson",
        "{\"id\":1,\"name\":\"Ann\"}\n{\"id\":2,\"name\":\"Ben\",\"age\":-1}\n{\"id\":3,\"name\":\"Cid\",\"boss\":9}\n{\"id\n",
    );
    let bad = "people.ndjson:2 person.age: `age` must not be less than 0.\n";
    let (code, out, err) = place.import("people.ndjson", &["--dry-run"]);
    assert_eq!(code, 1, "{err}");
    assert_eq!(
        out.split_whitespace().collect::<Vec<_>>(),
        ["KLASS", "GOOD", "BAD", "person", "2", "1"]
    );
    assert!(err.contains(bad), "{err}");
    assert!(
        err.contains("people.ndjson:3 person.boss: there is no person with externalId \"9\"; it would be imported without this link"),
        "{err}"
    );
    let (code, out, err) = place.import("people.ndjson", &[]);
    assert_eq!(code, 1, "{err}");
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(
        words,
        ["KLASS", "CREATED", "UPDATED", "UNCHANGED", "FAILED", "person", "2", "0", "0", "1"],
        "a dry run wrote nothing"
    );
    assert!(
        err.contains(bad) && err.contains("people.ndjson:4: ") && err.contains("; it was imported without this link"),
        "{err}"
    );
    for part in [
        "4 records, 2 objects in ",
        "1 records could not be read",
        "1 links lead nowhere",
        "3 things were refused",
    ] {
        assert!(err.contains(part), "{part} is not in\n{err}");
    }

    place.put(
        "people.ndjson",
        "{\"id\":1,\"name\":\"Ann\"}\n{\"id\":3,\"name\":\"Cid\",\"boss\":1}\n",
    );
    let (code, out, err) = place.import("people.ndjson", &[]);
    assert_eq!(
        (code, out.lines().nth(1).map(|line| line.split_whitespace().collect::<Vec<_>>())),
        (0, Some(vec!["person", "0", "1", "1", "0"])),
        "{err}"
    );
    // What is wrong with the mapping is told before anything is read.
    place.put("map.toml", &MAP.replace("age = \"age\"", "agee = \"age\""));
    let (code, out, err) = place.import("people.ndjson", &[]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("agee") && err.contains("Did you mean `age`?"), "{err}");
}

#[test]
fn a_terminal_shows_how_far_it_has_come() {
    let place = Place::new();
    place.people("people.ndjson", 20_000);
    let command = format!("{} import people.ndjson --klass person --map map.toml", env!("CARGO_BIN_EXE_klio"));
    let output = match place
        .command("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .output()
    {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED the bar on a terminal: `script` is not here ({error})");
            return;
        }
    };
    let seen = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{seen}");
    // Each state of the bar, without the terminal's own language.
    let states: Vec<&str> = seen
        .split(['\r', '\n', '\u{1b}'])
        .filter(|state| state.contains("objects,"))
        .collect();
    let moving: Vec<&&str> = states.iter().filter(|state| !state.contains(" 0 objects")).collect();
    assert!(moving.len() > 1, "{states:?}\n{seen}");
    for state in &moving {
        assert!(
            state.contains("/s") && state.contains(" to go") && state.contains(" of "),
            "{state}"
        );
    }
    let last = moving.last().expect("more than one");
    let objects = |state: &str| -> u64 {
        let head = state.split(" objects").next().unwrap_or_default();
        let digits = head.rsplit(' ').next().unwrap_or_default();
        digits.parse().unwrap_or_default()
    };
    assert!(objects(moving[0]) < objects(last), "{states:?}");
    assert!(seen.contains("20000 objects in"), "the summary comes after it\n{seen}");
}

#[tokio::test]
async fn killed_in_the_middle_it_goes_on_and_nothing_is_lost_or_doubled() {
    const MANY: usize = 30_000;
    let place = Place::new();
    place.people("people.ndjson", MANY);
    let mut child = place
        .command(env!("CARGO_BIN_EXE_klio"))
        .args(["import", "people.ndjson", "--klass", "person", "--map", "map.toml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let config = StoreConfig {
        url: format!("sqlite:{}", place.path().join("klio.db").display()),
        ..klio_api::Config::defaults().store()
    };
    let store = Store::open(&config).await.expect("the database is there");
    let noted = async || {
        use sea_orm::EntityTrait;
        let row = klio_entities::tables::import_progress::Entity::find()
            .one(&store.connection())
            .await;
        row.ok()
            .flatten()
            .map_or(0, |row| if row.finished_at.is_some() { i64::MAX } else { row.position })
    };
    let began = Instant::now();
    while noted().await == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "no position was ever noted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().expect("SIGKILL is sent");
    child.wait().expect("it is gone");
    let position = noted().await;
    assert!(position > 0 && position < MANY as i64, "killed in the middle: {position}");
    let (code, out, err) = place.import("people.ndjson", &[]);
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains(&format!("{position} records were imported by an earlier run")),
        "{err}"
    );
    let counts: Vec<usize> = out
        .lines()
        .nth(1)
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|word| word.parse().ok())
        .collect();
    // What lay between the last noted position and the kill is found as it should be; the rest is new.
    assert_eq!(
        counts.iter().sum::<usize>(),
        MANY - usize::try_from(position).expect("a number"),
        "{out}"
    );
    assert_eq!((counts[1], counts[3]), (0, 0), "{out}");
    let (code, out, _) = place.import("people.ndjson", &[]);
    assert_eq!(code, 0);
    assert_eq!(
        out.lines().nth(1).map(|line| line.split_whitespace().collect::<Vec<_>>()),
        Some(vec!["person", "0", "0", "30000", "0"])
    );
}
