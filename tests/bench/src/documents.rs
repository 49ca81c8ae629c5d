//! Documents that were never asked before: what the first time costs, and whether memory stays bounded however many there are.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use crate::http::{Connection, post};
use crate::process;

/// How many.
const DOCUMENTS: usize = 10_000;

/// Asks for Q2 in so many different documents, then for the last of them as often.
pub async fn first_time(gateway: SocketAddr, pid: u32, token: &str, id: &str) -> anyhow::Result<()> {
    // Page sizes stand in the statement's text, so each document has a plan and a statement of its own.
    let document = |n: usize| {
        let (conversations, messages, orders) = (1 + n % 20, 1 + n / 20 % 20, 1 + n / 400);
        format!(
            "query Q2($id: ID!) {{ customer(id: $id) {{ id name email \
             conversations(first: {conversations}, orderBy: [{{lastMessageAt: DESC}}]) {{ nodes {{ id name status lastMessageAt \
             messages(first: {messages}, orderBy: [{{sentAt: DESC}}]) {{ nodes {{ id direction channel preview sentAt }} }} }} }} \
             orders(first: {orders}, orderBy: [{{placedAt: DESC}}]) {{ nodes {{ id orderNumber status total {{ amount currency }} placedAt }} }} }} }}"
        )
    };
    let request = |n: usize| {
        post(
            "/graphql",
            Some(token),
            &json!({"query": document(n), "variables": {"id": id}}).to_string(),
        )
    };
    let mut connection = Connection::open(gateway).await?;
    let mut rounds = Vec::with_capacity(2);
    let (mut before, mut half) = (0, 0);
    for known in [false, true] {
        let mut took = Vec::with_capacity(DOCUMENTS);
        let cpu = process::cpu(pid, false);
        for n in 0..DOCUMENTS {
            let request = request(if known { DOCUMENTS - 1 } else { n });
            let began = Instant::now();
            let (status, body) = connection.ask(&request).await?;
            took.push(began.elapsed());
            ensure!(status == 200, "answer {status}: {}", String::from_utf8_lossy(body));
            match (known, n) {
                (false, 0) => before = process::memory(pid).own,
                (false, n) if n + 1 == DOCUMENTS / 2 => half = process::memory(pid).own,
                _ => {}
            }
        }
        took.sort_unstable();
        rounds.push((process::cpu(pid, false) - cpu, took[DOCUMENTS / 2], took[DOCUMENTS * 99 / 100]));
    }
    let each = |cpu: Duration| cpu.as_secs_f64() * 1_000.0 / DOCUMENTS as f64;
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let [(first, p50, p99), (again, known50, known99)] = [rounds[0], rounds[1]];
    println!(
        "{DOCUMENTS} documents of Q2's size, each asked for the first time: {:.2} ms of the gateway's processor time each (known: {:.2}), \
         p50 {:.2} ms ({:.2}), p99 {:.2} ms ({:.2}); memory {} MB before, {} MB after half of them, {} MB after all",
        each(first),
        each(again),
        ms(p50),
        ms(known50),
        ms(p99),
        ms(known99),
        before / 1_000_000,
        half / 1_000_000,
        process::memory(pid).own / 1_000_000
    );
    Ok(())
}
