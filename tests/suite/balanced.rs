//! Three nodes behind a load balancer, as docs/three-nodes.md says: nodes are restarted one by one and killed, and who came through the
//! balancer misses nothing.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use klio_tests::load::{Dice, Load, SETS, judge};
use klio_tests::processes::Gateway;
use klio_tests::redis::{Server, free_port, is_there};
use klio_tests::{Backend, folder, new_database, until};
use tempfile::TempDir;

/// nginx with the configuration of the docs, at other addresses.
struct Balancer {
    url: String,
    nginx: Child,
    _folder: TempDir,
}

impl Balancer {
    async fn start(nodes: &[Gateway]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let file = folder().join("../docs/three-nodes/nginx.conf");
        let mut text = std::fs::read_to_string(file).expect("the configuration of the docs");
        let port = free_port();
        let mut replace = |from: &str, to: &str| {
            assert!(text.contains(from), "the configuration says {from}");
            text = text.replace(from, to);
        };
        replace("listen 80;", &format!("listen 127.0.0.1:{port};"));
        for (number, node) in (11..).zip(nodes) {
            replace(&format!("10.0.0.{number}:4000"), node.url.trim_start_matches("http://"));
        }
        if Command::new("id").arg("-u").output().is_ok_and(|it| it.stdout.starts_with(b"0")) {
            // It would hand its folder over to a user who may not enter it.
            text.insert_str(0, "user root;\n");
        }
        std::fs::write(home.path().join("nginx.conf"), text).expect("a file");
        let nginx = Command::new("nginx")
            .args(["-c", "nginx.conf", "-g", "daemon off;", "-p"])
            .arg(home.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx runs");
        let mut balancer = Self {
            url: format!("http://127.0.0.1:{port}"),
            nginx,
            _folder: home,
        };
        until("nginx listens", async || {
            let ended = balancer.nginx.try_wait().ok().flatten();
            assert!(ended.is_none(), "nginx ended: {ended:?}");
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .await;
        balancer
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It tells its workers to end; killed, it would leave them.
        let _ = Command::new("kill").args(["-TERM", &self.nginx.id().to_string()]).status();
        let _ = self.nginx.wait();
    }
}

/// Whether nginx is installed; if not, it is said loudly.
fn nginx_is_there() -> bool {
    let there = Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok();
    assert!(
        there || std::env::var_os("KLIO_TEST_NODE").is_none(),
        "tests/run installs nginx before the tests"
    );
    if !there {
        eprintln!("SKIPPED: nginx is not installed (tests/run installs it)");
    }
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_come_and_go_behind_a_balancer() {
    if !is_there() || !nginx_is_there() {
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let Some(database) = new_database(Backend::Postgres, &home).await else {
        return;
    };
    let redis = Server::start(&[]).await;
    let url = format!("redis.url={}", redis.url());
    let sets: Vec<&str> = SETS.into_iter().chain([url.as_str()]).collect();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Gateway::start(&database, &sets).await);
    }
    let balancer = Balancer::start(&nodes).await;
    let load = Load::start_at(&nodes[0], &balancer.url, &balancer.url).await;
    let mut dice = Dice(11);
    // A new version, node by node.
    for node in &mut nodes {
        load.more(30).await;
        node.end().await;
        load.more(10).await;
        node.run().await;
    }
    // Two of them are lost without a word, one after the other; meanwhile the others carry on.
    for node in &mut nodes[..2] {
        load.more(20).await;
        dice.wait(0, 300).await;
        node.kill();
        load.more(30).await;
        node.run().await;
    }
    load.more(30).await;
    judge("three nodes behind nginx, restarted and killed", &load.verdict().await);
}
