//! The real programs, started by a test as processes of their own, so that they can be killed: the gateway, and PostgreSQL.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::redis::free_port;

/// `klio`, as it was built with the tests.
pub fn klio() -> PathBuf {
    let this = std::env::current_exe().expect("this program");
    let debug = this.parent().and_then(|deps| deps.parent()).expect("target/debug/deps");
    debug.join("klio")
}

/// A gateway in a process of its own, always at the same address.
pub struct Gateway {
    /// `http://127.0.0.1:port`.
    pub url: String,
    port: u16,
    database: String,
    sets: Vec<String>,
    child: Option<Child>,
}

impl Gateway {
    /// Starts one on a database.
    pub async fn start(database: &str, sets: &[&str]) -> Self {
        let port = free_port();
        let mut gateway = Self {
            url: format!("http://127.0.0.1:{port}"),
            port,
            database: database.to_owned(),
            sets: sets.iter().map(|set| (*set).to_owned()).collect(),
            child: None,
        };
        gateway.run().await;
        gateway
    }

    fn command(&self) -> Command {
        let mut command = Command::new(klio());
        for set in &self.sets {
            command.args(["--set", set]);
        }
        command.env_remove("KLIO_REDIS_URL").env("KLIO_DATABASE_URL", &self.database);
        command.env("KLIO_LOG_LEVEL", "error").stdin(Stdio::null());
        command
    }

    /// Runs a command on the same database; what it prints.
    pub fn say(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().expect("klio runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts it (again), until it is ready.
    pub async fn run(&mut self) {
        let mut command = self.command();
        command.args(["serve", "--listen", &format!("127.0.0.1:{}", self.port)]);
        self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("klio runs"));
        let url = format!("{}/health/ready", self.url);
        crate::until("the gateway is ready", async || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "klio ended: {ended:?}");
            let answer = reqwest::get(&url).await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
    }

    /// Kills it, and starts it in such a way that it dies at a place in a write, the `time`-th time that it comes there; waits until it
    /// has. (Debug builds alone have such places.)
    pub async fn die_at(&mut self, place: &str, time: u64) {
        self.kill();
        let mut command = self.command();
        command.args(["serve", "--listen", &format!("127.0.0.1:{}", self.port)]);
        command.env("KLIO_TEST_FAILPOINT", format!("{place}:{time}"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("klio runs");
        crate::until("it has come to that place", async || child.try_wait().ok().flatten()).await;
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Its resident memory in bytes, by `/proc` (proc(5)).
    pub fn memory(&self) -> u64 {
        let id = self.child.as_ref().map_or(0, Child::id);
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("it runs") * 1024
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let id = child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        tokio::task::spawn_blocking(move || child.wait())
            .await
            .expect("a thread")
            .expect("it ends");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A PostgreSQL server of its own, that syncs to the disk as it does in earnest.
pub struct Postgres {
    port: u16,
    bin: PathBuf,
    folder: TempDir,
}

impl Postgres {
    /// Makes and starts one; `None` (said loudly) when PostgreSQL is not installed.
    pub async fn start() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok();
        let bin = versions.and_then(|all| {
            all.flatten()
                .map(|it| it.path().join("bin"))
                .filter(|bin| bin.join("initdb").exists())
                .max()
        });
        let Some(bin) = bin else {
            eprintln!("SKIPPED: PostgreSQL is not installed (tests/run installs it)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let server = Self {
            port: free_port(),
            bin,
            folder,
        };
        // It refuses to run as root: then it is the user that its package made, who must be let in.
        if is_root() {
            let path = server.folder.path().to_owned();
            let done = Command::new("chown").arg("postgres").arg(path).status().expect("chown runs");
            assert!(done.success());
        }
        server
            .say(
                "initdb",
                &["-D", "data", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"],
            )
            .await;
        server.run().await;
        Some(server)
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Starts it (again).
    pub async fn run(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=100",
            self.port,
            self.folder.path().display()
        );
        self.say("pg_ctl", &["-D", "data", "-w", "-l", "log", "-o", &options, "start"])
            .await;
    }

    /// Ends it at once, as when the machine loses its power.
    pub async fn kill(&self) {
        self.say("pg_ctl", &["-D", "data", "-m", "immediate", "stop"]).await;
    }

    async fn say(&self, program: &str, args: &[&str]) {
        let program = self.bin.join(program).display().to_string();
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", &program]);
            command
        } else {
            Command::new(program)
        };
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        // The server inherits what its starter has open, and would keep a pipe open for as long as it lives.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let status = tokio::task::spawn_blocking(move || command.status()).await.expect("a thread");
        assert!(status.expect("it runs").success(), "{args:?}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let folder = self.folder.path().join("data");
        let pid = std::fs::read_to_string(folder.join("postmaster.pid")).unwrap_or_default();
        if let Some(pid) = pid.lines().next() {
            let _ = Command::new("kill").args(["-QUIT", pid]).status();
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.starts_with(b"0")
}
