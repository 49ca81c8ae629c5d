//! Many sockets that listen, and when each of them heard what.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value as Json;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use super::socket::{Socket, contains};

/// How many connect at the same time.
const AT_ONCE: usize = 128;
/// After this long it is taken for lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is heard.
struct Heard {
    began: Instant,
    sockets: usize,
    /// When socket `i` heard message `k`, in microseconds since `began`, at `k * sockets + i`.
    at: Vec<AtomicU32>,
    count: AtomicUsize,
    caught_up: AtomicUsize,
    news: Notify,
    /// Each socket's last message, when all that it waits for has come.
    last: Mutex<Vec<Vec<u8>>>,
    /// The first that went wrong.
    failed: Mutex<Option<anyhow::Error>>,
}

/// See the head of this file.
pub struct Crowd {
    heard: Arc<Heard>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Heard {
    fn note(&self, socket: usize, message: usize) -> bool {
        let now = u32::try_from(self.began.elapsed().as_micros()).unwrap_or(u32::MAX);
        let known = self.at.get(message * self.sockets + socket);
        if let Some(at) = known {
            at.store(now, Ordering::Relaxed);
        }
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_multiple_of(self.sockets) {
            self.news.notify_waiters();
        }
        known.is_some()
    }
}

/// Connects so many sockets, up to their acknowledgement; how long it took.
pub async fn connect(address: SocketAddr, token: &str, count: usize) -> anyhow::Result<(Vec<Socket>, Duration)> {
    let began = Instant::now();
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let (gate, token) = (gate.clone(), token.to_owned());
            tokio::spawn(async move {
                let _permit = gate.acquire_owned().await?;
                Socket::open(address, &token).await
            })
        })
        .collect();
    let mut sockets = Vec::with_capacity(count);
    for task in tasks {
        sockets.push(task.await??);
    }
    Ok((sockets, began.elapsed()))
}

impl Crowd {
    /// Subscribes each socket; each waits for so many messages, `CAUGHT_UP` not counted.
    pub fn listen(sockets: Vec<Socket>, query: &'static str, variables: impl Fn(usize) -> Json, messages: usize) -> Self {
        let count = sockets.len();
        let heard = Arc::new(Heard {
            began: Instant::now(),
            sockets: count,
            at: (0..count * messages).map(|_| AtomicU32::new(0)).collect(),
            count: AtomicUsize::new(0),
            caught_up: AtomicUsize::new(0),
            news: Notify::new(),
            last: Mutex::new(vec![Vec::new(); count]),
            failed: Mutex::new(None),
        });
        let tasks = sockets
            .into_iter()
            .enumerate()
            .map(|(number, socket)| {
                let (heard, variables) = (heard.clone(), variables(number));
                tokio::spawn(async move {
                    if let Err(error) = hear(number, socket, query, &variables, messages, &heard).await {
                        lock(&heard.failed).get_or_insert(error);
                        heard.news.notify_waiters();
                    }
                })
            })
            .collect();
        Self { heard, tasks }
    }

    /// Waits until something holds, looking whenever there is news and now and then.
    async fn until(&self, what: &str, holds: impl Fn(&Heard) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let news = self.heard.news.notified();
            if let Some(error) = lock(&self.heard.failed).take() {
                return Err(error.context(what.to_owned()));
            }
            if holds(&self.heard) {
                return Ok(());
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "{what}: {} heard",
                self.heard.count.load(Ordering::Relaxed)
            );
            let _ = tokio::time::timeout(Duration::from_millis(20), news).await;
        }
    }

    /// Until each is told that it has everything.
    pub async fn caught_up(&self) -> anyhow::Result<()> {
        self.until("waiting to be caught up", |heard| {
            heard.caught_up.load(Ordering::Relaxed) == heard.sockets
        })
        .await
    }

    /// Until each has heard so many messages.
    pub async fn heard(&self, messages: usize) -> anyhow::Result<()> {
        self.until("waiting for messages", |heard| {
            heard.count.load(Ordering::Relaxed) >= messages * heard.sockets
        })
        .await
    }

    /// How long after a moment each socket heard a message, in microseconds.
    pub fn each(&self, message: usize, since: Instant) -> Vec<u32> {
        let zero = u32::try_from(since.duration_since(self.heard.began).as_micros()).unwrap_or(u32::MAX);
        let at = &self.heard.at[message * self.heard.sockets..(message + 1) * self.heard.sockets];
        at.iter().map(|at| at.load(Ordering::Relaxed).saturating_sub(zero)).collect()
    }

    /// The cursor of each socket's last message, once all have come.
    pub fn cursors(&self) -> anyhow::Result<Vec<String>> {
        let last = lock(&self.heard.last);
        let cursor = |message: &Vec<u8>| {
            let message: Json = serde_json::from_slice(message)?;
            let told = message["payload"]["data"].as_object().and_then(|data| data.values().next());
            let cursor = told
                .and_then(|told| told["cursor"].as_str())
                .context("a message without a cursor")?;
            Ok(cursor.to_owned())
        };
        last.iter().map(cursor).collect()
    }
}

async fn hear(number: usize, mut socket: Socket, query: &str, variables: &Json, messages: usize, heard: &Heard) -> anyhow::Result<()> {
    socket.subscribe(query, variables).await?;
    let (mut count, mut behind) = (0, true);
    loop {
        let message = socket.next().await?;
        if behind && contains(message, b"\"CAUGHT_UP\"") {
            behind = false;
            heard.caught_up.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if count < 3 {
            ensure!(!contains(message, b"\"error"), "{}", String::from_utf8_lossy(message));
        }
        if count + 1 == messages {
            lock(&heard.last)[number] = message.to_vec();
        }
        ensure!(
            heard.note(number, count),
            "more than was written: {}",
            String::from_utf8_lossy(message)
        );
        count += 1;
    }
}

/// What is guarded is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
