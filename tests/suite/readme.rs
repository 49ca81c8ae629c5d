//! The README is true: in an empty folder each of its commands is run, in order, by a shell, and prints what the page says.
//!
//! How the page is read: a block of `toml` or `js` is the file that the paragraph above it names. A block of `sh` is a definition, or a
//! command whose output is the block of `json` below it. In a block of `console` a line with `$` is a command (it goes on until its
//! quotes close), what follows is its output. `node` goes on running: a block without a language is what it says next, until `^C`.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use klio_tests::processes::{Postgres, klio};
use klio_tests::redis::free_port;
use klio_tests::{folder, until};
use serde_json::Value as Json;

/// A fenced block, with the paragraph above it.
struct Block<'p> {
    language: &'p str,
    lines: Vec<&'p str>,
    above: &'p str,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut out = Vec::new();
    let (mut above, mut lines) = ("", page.lines());
    while let Some(line) = lines.next() {
        match line.strip_prefix("```") {
            Some(language) => out.push(Block {
                language,
                lines: lines.by_ref().take_while(|line| *line != "```").collect(),
                above,
            }),
            None if !line.is_empty() => above = line,
            None => {}
        }
    }
    out
}

/// Part of a page: from one heading to another.
fn section<'p>(page: &'p str, from: &str, to: &str) -> &'p str {
    let begin = page.find(&format!("\n## {from}\n")).unwrap_or_else(|| panic!("no heading {from}"));
    let length = page[begin..]
        .find(&format!("\n## {to}\n"))
        .unwrap_or_else(|| panic!("no heading {to}"));
    &page[begin..begin + length]
}

/// A shell in a folder, that remembers what was defined and exported.
struct Shell {
    folder: tempfile::TempDir,
    said: String,
    watcher: Option<Watcher>,
}

struct Watcher {
    child: Child,
    lines: Receiver<String>,
}

impl Watcher {
    /// Waits until it has nothing to do: it has not run for a moment (proc(5)).
    fn is_quiet(&self) {
        let switches = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
            status
                .lines()
                .find(|line| line.starts_with("voluntary_ctxt_switches"))
                .map(str::to_owned)
        };
        let mut before = switches();
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = switches();
            if now == before {
                return;
            }
            before = now;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shell {
    fn new() -> Self {
        let bin = klio();
        let bin = bin.parent().expect("a folder").display();
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            said: format!("unset KLIO_REDIS_URL KLIO_DATABASE_URL\nPATH={bin}:$PATH\n"),
            watcher: None,
        }
    }

    fn command(&self, text: &str) -> Command {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("{}{text}", self.said));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; what it prints.
    fn run(&self, text: &str) -> String {
        let output = self.command(text).output().expect("bash runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "$ {text}\n{out}{err}");
        // What is told in passing goes to stderr; a reader of the page sees both.
        format!("{out}{err}")
    }

    /// Starts what goes on running, in place of what did so far.
    fn start(&mut self, text: &str) {
        self.watcher = None;
        let mut child = self
            .command(&format!("exec {text}"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash runs");
        let (told, lines) = channel();
        let stdout = child.stdout.take().expect("it is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if told.send(line).is_err() {
                    break;
                }
            }
        });
        self.watcher = Some(Watcher { child, lines });
    }

    /// What runs says these lines next; `^C` ends it.
    fn says(&mut self, expected: &[&str]) {
        for line in expected {
            let watcher = self.watcher.as_ref().expect("something runs");
            if *line == "^C" {
                watcher.is_quiet();
                self.watcher = None;
                continue;
            }
            let said = watcher
                .lines
                .recv_timeout(Duration::from_secs(60))
                .unwrap_or_else(|_| panic!("never said: {line}"));
            assert_eq!(said, *line);
        }
    }

    /// Whether a text is whole commands: its quotes close.
    fn is_whole(text: &str) -> bool {
        let status = Command::new("bash").arg("-nc").arg(text).stderr(Stdio::null()).status();
        status.expect("bash runs").success()
    }

    /// A console's commands, each with what it prints.
    fn console(&mut self, lines: &[&str]) {
        let mut lines: VecDeque<&str> = lines.iter().copied().filter(|line| !line.is_empty()).collect();
        while let Some(line) = lines.pop_front() {
            let mut command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("no command: {line}")).to_owned();
            while !Self::is_whole(&command) {
                let more = lines.pop_front().unwrap_or_else(|| panic!("it does not end: {command}"));
                command = format!("{command}\n{more}");
            }
            let more = lines.iter().position(|line| line.starts_with("$ ")).unwrap_or(lines.len());
            let expected: Vec<&str> = lines.drain(..more).collect();
            if command.starts_with("export ") {
                self.said.push_str(&command);
                self.said.push('\n');
            } else if command.starts_with("node ") {
                self.start(&command);
                self.says(&expected);
            } else {
                let printed = self.run(&command);
                assert_eq!(printed.trim_end(), expected.join("\n"), "$ {command}");
            }
        }
    }

    fn page(&mut self, page: &str) {
        let mut blocks = blocks(page).into_iter().peekable();
        while let Some(block) = blocks.next() {
            let text = block.lines.join("\n");
            match block.language {
                "toml" | "js" => {
                    let name = block.above.split('`').rev().nth(1).expect("the file's name in backquotes");
                    std::fs::write(self.folder.path().join(name), text).expect("a file is written");
                }
                "sh" => match blocks.next_if(|next| next.language == "json") {
                    Some(expected) => {
                        let printed: Json = serde_json::from_str(&self.run(&text)).expect("JSON is printed");
                        let expected: Json = serde_json::from_str(&expected.lines.join("\n")).expect("JSON is on the page");
                        assert_eq!(printed, expected, "$ {text}");
                    }
                    None => {
                        self.said.push_str(&text);
                        self.said.push('\n');
                    }
                },
                "console" => self.console(&block.lines),
                "" => self.says(&block.lines),
                other => panic!("a block of {other}"),
            }
        }
    }
}

/// What the page needs beside `klio`; without it the test is skipped, loudly.
fn is_missing(program: &str) -> bool {
    let found = Command::new("bash")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status();
    let missing = !found.expect("bash runs").success();
    if missing {
        assert!(std::env::var_os("KLIO_TEST_NODE").is_none(), "tests/run installs {program}");
        eprintln!("SKIPPED: {program} is not installed (tests/run installs it)");
    }
    missing
}

fn readme() -> String {
    std::fs::read_to_string(folder().join("../README.md")).expect("there is a README")
}

/// Ends the gateways whose command lines hold this, also those that a command of the page started.
struct Gateways(String);

impl Drop for Gateways {
    fn drop(&mut self) {
        // There may be none left.
        let _ = Command::new("pkill").args(["-KILL", "-f", "--", &self.0]).status();
    }
}

async fn is_ready(port: u16) {
    until("the gateway is ready", async || {
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/health/ready")).await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_prints_what_the_page_says() {
    let packages = folder().join("conformance/node_modules");
    if ["node", "jq", "curl", "pkill"].into_iter().any(is_missing) {
        return;
    }
    if !Path::new(&packages).exists() {
        assert!(
            std::env::var_os("KLIO_TEST_NODE").is_none(),
            "tests/run installs npm's packages before the tests"
        );
        eprintln!("SKIPPED: tests/conformance/node_modules is missing (tests/run installs it)");
        return;
    }
    let port = free_port();
    let gateways = Gateways(format!("klio demo --quiet --port {port}"));
    let mut shell = Shell::new();
    std::os::unix::fs::symlink(packages, shell.folder.path().join("node_modules")).expect("a link");
    let page = readme()
        .replace("127.0.0.1:4000", &format!("127.0.0.1:{port}"))
        .replace("pkill -KILL klio", &format!("pkill -KILL -f '[k]lio demo --quiet --port {port}'"))
        .replace("klio demo --quiet >", &format!("{} >", gateways.0));
    shell.run(&format!("{} >demo.out 2>&1 &", gateways.0));
    is_ready(port).await;
    tokio::task::spawn_blocking(move || shell.page(section(&page, "Two commands", "Settings").split_once("\n```\n").expect("a block").1))
        .await
        .expect("the page is true");
}

/// `cargo run` means `klio`, whatever else in the workspace may be run: one package names what is run by default, and none but one.
#[test]
fn the_first_command_runs_klio() {
    let begins = section(&readme(), "Two commands", "A first query").contains("cargo run --release -- demo");
    assert!(begins, "the page begins with it");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(folder().join(".."))
        .output()
        .expect("cargo runs");
    let told: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = told["packages"].as_array().expect("packages");
    let default: Vec<&str> = packages.iter().filter_map(|package| package["default_run"].as_str()).collect();
    assert_eq!(default, ["klio"]);
}

/// The way to PostgreSQL, up to a gateway that answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_postgresql_is_as_it_says() {
    if ["curl", "pkill"].into_iter().any(is_missing) {
        return;
    }
    let Some(server) = Postgres::start().await else { return };
    let port = free_port();
    let _gateways = Gateways(format!("klio serve --listen 127.0.0.1:{port}"));
    let page = readme();
    let page = section(&page, "In earnest: PostgreSQL", "Limits today");
    let steps = blocks(page)
        .into_iter()
        .find(|block| block.language == "sh")
        .expect("a block of sh")
        .lines;
    let mut shell = Shell::new();
    let mut token = String::new();
    for step in steps {
        let step = step
            .replace("postgres://klio:secret@db.example/klio", &server.url("postgres"))
            .replace("0.0.0.0:4000", &format!("127.0.0.1:{port}"));
        if step.starts_with("export ") {
            shell.said.push_str(&format!("{step}\n"));
        } else if step.starts_with("klio serve ") {
            shell.run(&format!("{step} >serve.out 2>&1 &"));
        } else {
            let command = format!("{step} 2>/dev/null", step = step.split(" #").next().unwrap_or(&step));
            token = shell.run(&command).trim_end().to_owned();
        }
    }
    is_ready(port).await;
    assert!(token.starts_with("klio_") && !token.contains(char::is_whitespace), "{token}");
    let asked = shell.run(&format!(
        r#"curl -s http://127.0.0.1:{port}/graphql -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{{"query":"{{ customers {{ totalCount }} }}"}}'"#
    ));
    assert!(asked.starts_with(r#"{"data":{"customers":{"totalCount":0}}"#), "{asked}");
}
