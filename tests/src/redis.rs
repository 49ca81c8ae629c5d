//! Real Redis servers, started by a test on free ports in a folder of its own, and gone with it.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A port that is free just now, and that the system gives to no one as long as its server is down: not one of those from which
/// outgoing connections begin. (A client that keeps trying such a port in vain would end up connected to itself, and hold it.)
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes of tests that run at once begin at different places.
    let begin = std::process::id().wrapping_mul(131);
    loop {
        let n = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = u16::try_from(10_000 + n).expect("below 30,000");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Whether `redis-server` is there; if not, it is said loudly. (`tests/run` installs it.)
pub fn is_there() -> bool {
    let there = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    assert!(
        there || std::env::var_os("KLIO_TEST_REDIS").is_none(),
        "tests/run installs redis-server before the tests"
    );
    if !there {
        eprintln!("SKIPPED: redis-server is not installed (tests/run installs it)");
    }
    there
}

/// One server.
pub struct Server {
    /// Its port.
    pub port: u16,
    folder: TempDir,
    args: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// A server with arguments beside the usual ones, once it answers.
    pub async fn start(args: &[&str]) -> Self {
        Self::start_at(free_port(), args).await
    }

    async fn start_at(port: u16, args: &[&str]) -> Self {
        let mut server = Self {
            port,
            folder: tempfile::tempdir().expect("a folder"),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            child: None,
        };
        server.run().await;
        server
    }

    /// Starts it (again).
    pub async fn run(&mut self) {
        let mut command = Command::new("redis-server");
        if self.args.iter().any(|arg| arg == "--sentinel") {
            let conf = self.folder.path().join("sentinel.conf");
            if !conf.exists() {
                std::fs::write(&conf, "").expect("a file");
            }
            command.arg(conf);
        }
        command
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(&self.args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server runs"));
        let began = Instant::now();
        while self.say(&["PING"]).await.as_deref() != Some("PONG") {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "redis-server at {} does not answer",
                self.port
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it from running, while its connections stay open (SIGSTOP).
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let done = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill runs");
        assert!(done.success());
    }

    /// Says something to it; the answer, as `redis-cli` shows it.
    pub async fn say(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).args(words);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("a thread")
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A Cluster of three masters.
pub async fn cluster() -> Vec<Server> {
    let mut nodes = Vec::new();
    while nodes.len() < 3 {
        // The bus between nodes is at a port that is given too, so that it is a free one.
        let bus = free_port().to_string();
        let args = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--cluster-node-timeout",
            "2000",
            "--cluster-require-full-coverage",
            "no",
        ];
        nodes.push(Server::start(&args).await);
    }
    let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let mut words = vec!["--cluster", "create"];
    words.extend(addresses.iter().map(String::as_str));
    words.extend(["--cluster-replicas", "0", "--cluster-yes"]);
    let told = nodes[0].say(&words).await.expect("the cluster is made");
    assert!(told.contains("All 16384 slots covered"), "{told}");
    crate::until("the cluster is whole", async || {
        for node in &nodes {
            if !node.say(&["CLUSTER", "INFO"]).await?.contains("cluster_state:ok") {
                return None;
            }
        }
        Some(())
    })
    .await;
    nodes
}

/// A master with a replica, and three sentinels that watch it as `main`.
pub async fn sentinels() -> (Server, Server, Vec<Server>) {
    let master = Server::start(&[]).await;
    let port = master.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port]).await;
    let mut sentinels = Vec::new();
    for _ in 0..3 {
        let sentinel = Server::start(&["--sentinel"]).await;
        for words in [
            vec!["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "2"],
            vec!["SENTINEL", "SET", "main", "down-after-milliseconds", "1000"],
            vec!["SENTINEL", "SET", "main", "failover-timeout", "3000"],
        ] {
            assert_eq!(sentinel.say(&words).await.as_deref(), Some("OK"), "{words:?}");
        }
        sentinels.push(sentinel);
    }
    crate::until("the sentinels know each other and the replica", async || {
        for sentinel in &sentinels {
            let told = sentinel.say(&["SENTINEL", "MASTER", "main"]).await?;
            let lines: Vec<&str> = told.lines().collect();
            let of = |name: &str| lines.iter().position(|line| *line == name).map(|at| lines[at + 1]);
            if of("num-slaves") != Some("1") || of("num-other-sentinels") != Some("2") {
                return None;
            }
        }
        Some(())
    })
    .await;
    (master, replica, sentinels)
}
