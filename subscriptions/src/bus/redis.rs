//! News between nodes over Redis Pub/Sub: a single server, Sentinel, or a Cluster (there by sharded Pub/Sub).
//!
//! What goes over it are hints, beats and withdrawals; nothing is kept in Redis, and nothing that it loses is missed: hubs read the
//! log, and while Redis is away they look into it more often ([`Bus::away`]). News of this node reaches it directly, so a node alone
//! is none the worse for a Redis that is down.
//!
//! News is spread over [`PARTITIONS`] channels by org and stream, so that in a Cluster every shard carries a part. Beside each stands a
//! channel of this node's own, on the same shard, on which it sends itself a sign of life each second: a server that is paused, or
//! that has lost the subscription, is found out by silence and not only by a broken connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use klio_entities::klass::OrgId;
use klio_entities::store::{Hint, Store};
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::place::Place;
use super::{Away, Beat, Bus, Heard, InProcess, heard_of};

/// Over how many channels news is spread.
pub const PARTITIONS: u64 = 64;
/// How often a node sends itself a sign of life …
const SIGN: Duration = Duration::from_secs(1);
/// … and after how long without one its connection is given up.
const SILENCE: Duration = Duration::from_millis(3_500);
/// How long a connection or an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// First and longest pause before a connection is tried again; each is between half and all of it.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How much news waits for a connection that is slow; what comes beyond is not sent, and found by the others' sweep.
const OUTBOX: usize = 4_096;
/// How much news goes out together.
const TOGETHER: usize = 256;
/// How much news a listener may lag behind before it is told that some was lost.
const KEPT: usize = 4_096;

/// What goes over the wire.
#[derive(Debug, Serialize, Deserialize)]
struct Parcel {
    /// The node that sends: it has heard it already.
    node: Uuid,
    news: Vec<News>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum News {
    Hint {
        org: OrgId,
        streams: Vec<(String, i64)>,
        klasses: Vec<String>,
        xid: u64,
    },
    Beat(Beat),
    Withdrawn(Uuid),
}

impl News {
    /// On which channel it goes.
    fn partition(&self) -> u64 {
        let mut hash = Sha256::new();
        match self {
            News::Hint { org, streams, .. } => {
                hash.update(org.0.as_bytes());
                hash.update(streams.first().map(|(stream, _)| stream.as_bytes()).unwrap_or_default());
            }
            News::Beat(beat) => {
                hash.update(beat.org.0.as_bytes());
                hash.update(beat.of.as_bytes());
            }
            News::Withdrawn(token) => hash.update(token.as_bytes()),
        }
        u64::from(hash.finalize()[0]) % PARTITIONS
    }
}

impl From<Hint> for News {
    fn from(hint: Hint) -> Self {
        let Hint {
            org,
            streams,
            klasses,
            xid,
        } = hint;
        News::Hint {
            org,
            streams,
            klasses,
            xid,
        }
    }
}

impl From<News> for Heard {
    fn from(news: News) -> Self {
        match news {
            News::Hint {
                org,
                streams,
                klasses,
                xid,
            } => Heard::Hint(Hint {
                org,
                streams,
                klasses,
                xid,
            }),
            News::Beat(beat) => Heard::Beat(beat),
            News::Withdrawn(token) => Heard::Withdrawn(token),
        }
    }
}

/// Channels of a partition: for all, and for this node alone. The braces make a Cluster put both on one shard.
fn channel(prefix: &str, partition: u64) -> String {
    format!("{prefix}:{{{partition}}}")
}

fn own_channel(prefix: &str, partition: u64, node: Uuid) -> String {
    format!("{prefix}:{{{partition}}}:{}", node.simple())
}

fn parcel(node: Uuid, news: Vec<News>) -> Vec<u8> {
    // What is in a parcel has text for keys, so it cannot fail to be written.
    serde_json::to_vec(&Parcel { node, news }).unwrap_or_default()
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    heard: AtomicU64,
    lost: AtomicU64,
    connected: AtomicU64,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Redis {
    own: InProcess,
    outbox: mpsc::Sender<News>,
    others: broadcast::Sender<Heard>,
    away: watch::Receiver<Option<Away>>,
    counts: Arc<Counts>,
}

impl Redis {
    /// Begins to connect, and goes on trying for as long as the bus is there. Must be called within a tokio runtime. `prefix` begins
    /// the names of all channels: gateways that share a Redis and not a database should have different ones.
    pub fn new(store: Store, place: Place, prefix: &str) -> Self {
        let (outbox, news) = mpsc::channel(OUTBOX);
        let others = broadcast::Sender::new(KEPT);
        let (told_away, away) = watch::channel(Some(Away::since_now("not connected yet")));
        let counts = Arc::new(Counts::default());
        let link = Link {
            place,
            prefix: prefix.to_owned(),
            node: Uuid::new_v4(),
            heard: others.clone(),
            away: told_away,
            counts: counts.clone(),
        };
        tokio::spawn(link.run(news));
        tokio::spawn(forward(store.hints(), outbox.downgrade(), counts.clone()));
        Self {
            own: InProcess::new(store),
            outbox,
            others,
            away,
            counts,
        }
    }

    /// Tells all nodes of a withdrawal and waits until Redis has it: for a command that ends right behind.
    ///
    /// # Errors
    /// Redis does not answer; the nodes will find out by themselves.
    pub async fn withdraw_once(place: &Place, prefix: &str, token: Uuid) -> Result<(), String> {
        let (pushes, _ignored) = mpsc::channel(1);
        let send = async {
            let mut wire = Wire::connect(place, pushes).await?;
            let news = News::Withdrawn(token);
            let channel = channel(prefix, news.partition());
            wire.publish(&channel, &parcel(Uuid::nil(), vec![news])).await
        };
        match tokio::time::timeout(PATIENCE, send).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err("it does not answer".into()),
        }
    }

    fn send(&self, news: News) {
        if self.outbox.try_send(news).is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Bus for Redis {
    fn heard(&self) -> BoxStream<'static, Heard> {
        futures_util::stream::select(self.own.heard(), heard_of(self.others.subscribe())).boxed()
    }

    fn beat(&self, beat: Beat) {
        self.own.beat(beat.clone());
        self.send(News::Beat(beat));
    }

    fn withdraw(&self, token: Uuid) {
        self.own.withdraw(token);
        self.send(News::Withdrawn(token));
    }

    fn away(&self) -> Option<Away> {
        self.away.borrow().clone()
    }

    fn told(&self) -> super::Told {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        super::Told {
            sent: of(&self.counts.sent),
            heard: of(&self.counts.heard),
            lost: of(&self.counts.lost),
            connected: of(&self.counts.connected),
        }
    }
}

/// Hands this node's hints on to the others.
async fn forward(mut hints: broadcast::Receiver<Hint>, outbox: mpsc::WeakSender<News>, counts: Arc<Counts>) {
    loop {
        let lost = match hints.recv().await {
            Ok(hint) => {
                let Some(outbox) = outbox.upgrade() else { return };
                u64::from(outbox.try_send(hint.into()).is_err())
            }
            Err(RecvError::Lagged(n)) => n,
            Err(RecvError::Closed) => return,
        };
        counts.lost.fetch_add(lost, Ordering::Relaxed);
    }
}

/// A connection of either kind, over which pushes come too.
enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Wire {
    async fn connect(place: &Place, pushes: mpsc::Sender<PushInfo>) -> Result<Self, RedisError> {
        // A push that finds no room is lost like any other, and a connection from which nothing comes is found out.
        let push = move |push: PushInfo| pushes.try_send(push);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let client = match place {
            Place::Single(url) => {
                let info = url.as_str().into_connection_info()?;
                let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
                Client::open(info.set_redis_settings(settings))?
            }
            Place::Sentinel { sentinels, master, login } => {
                let mut settings = redis::RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
                if let Some((user, password)) = login {
                    if !user.is_empty() {
                        settings = settings.set_username(user);
                    }
                    settings = settings.set_password(password);
                }
                let mut node = SentinelNodeConnectionInfo::default().set_redis_connection_info(settings);
                if sentinels.iter().any(|url| url.starts_with("rediss:")) {
                    node = node.set_tls_mode(redis::TlsMode::Secure);
                }
                let mut sentinel = SentinelClient::build(sentinels.clone(), master.clone(), Some(node), SentinelServerType::Master)?;
                sentinel.async_get_client().await?
            }
            Place::Cluster(nodes) => {
                let client = ClusterClientBuilder::new(nodes.clone())
                    .use_protocol(ProtocolVersion::RESP3)
                    .connection_timeout(PATIENCE)
                    .response_timeout(PATIENCE)
                    .push_sender(push)
                    .build()?;
                return Ok(Wire::Cluster(client.get_async_connection().await?));
            }
        };
        let connection = client
            .get_multiplexed_async_connection_with_config(&config.set_push_sender(push))
            .await?;
        Ok(Wire::One(connection))
    }

    async fn subscribe(&mut self, channel: &str) -> Result<(), RedisError> {
        match self {
            Wire::One(connection) => connection.subscribe(channel).await,
            Wire::Cluster(connection) => connection.ssubscribe(channel).await,
        }
    }

    async fn publish(&mut self, channel: &str, message: &[u8]) -> Result<(), RedisError> {
        match self {
            Wire::One(connection) => redis::cmd("PUBLISH").arg(channel).arg(message).query_async::<()>(connection).await,
            Wire::Cluster(connection) => redis::cmd("SPUBLISH").arg(channel).arg(message).query_async::<()>(connection).await,
        }
    }

    /// On how many partitions signs of life are sent: one connection needs only one.
    fn signs(&self) -> u64 {
        match self {
            Wire::One(_) => 1,
            Wire::Cluster(_) => PARTITIONS,
        }
    }
}

/// Keeps a connection, and makes it anew when it is lost.
struct Link {
    place: Place,
    prefix: String,
    node: Uuid,
    heard: broadcast::Sender<Heard>,
    away: watch::Sender<Option<Away>>,
    counts: Arc<Counts>,
}

impl Link {
    async fn run(self, mut news: mpsc::Receiver<News>) {
        let mut pause = PAUSE.0;
        let mut told = false;
        loop {
            // The bus is gone.
            let Err(why) = self.connected(&mut news).await else { return };
            let was_there = self.away.borrow().is_none();
            if was_there {
                pause = PAUSE.0;
                self.away.send_replace(Some(Away::since_now(&why)));
            } else {
                self.away.send_modify(|away| {
                    if let Some(away) = away {
                        away.why.clone_from(&why);
                    }
                });
            }
            if was_there || !told {
                tracing::warn!(why, "Redis is away: the news of other nodes comes by the sweep");
                told = true;
            } else {
                tracing::debug!(why, "Redis is still away");
            }
            let until = Instant::now() + pause.mul_f64(0.5 + spread() / 2.0);
            pause = (pause * 2).min(PAUSE.1);
            // What is said meanwhile is dropped: it would be old by the time it could be said.
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    said = news.recv() => match said {
                        Some(_) => {
                            self.counts.lost.fetch_add(1, Ordering::Relaxed);
                        }
                        None => return,
                    },
                }
            }
        }
    }

    /// One connection, until it is lost; `Ok`: until the bus is gone.
    async fn connected(&self, news: &mut mpsc::Receiver<News>) -> Result<(), String> {
        let (push, mut pushes) = mpsc::channel(OUTBOX);
        let connecting = tokio::time::timeout(PATIENCE * 2, Wire::connect(&self.place, push)).await;
        let mut wire = connecting
            .map_err(|_| "it does not answer".to_owned())?
            .map_err(|error| error.to_string())?;
        let count = wire.signs();
        for partition in 0..PARTITIONS {
            let own = (partition < count).then(|| own_channel(&self.prefix, partition, self.node));
            for channel in [Some(channel(&self.prefix, partition)), own].into_iter().flatten() {
                let subscribed = tokio::time::timeout(PATIENCE, wire.subscribe(&channel)).await;
                subscribed
                    .map_err(|_| "it does not answer".to_owned())?
                    .map_err(|error| error.to_string())?;
            }
        }
        self.counts.connected.fetch_add(1, Ordering::Relaxed);
        let mut tick = tokio::time::interval(SIGN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // When the last sign came back, for each partition.
        let began = Instant::now();
        let mut signs: Vec<Instant> = (0..count).map(|_| began).collect();
        let mut sure = false;
        loop {
            tokio::select! {
                push = pushes.recv() => {
                    let Some(push) = push else { return Err("the connection is closed".into()) };
                    if push.kind == PushKind::Disconnection {
                        if matches!(wire, Wire::One(_)) {
                            return Err("the connection is lost".into());
                        }
                        // A Cluster's other shards go on, and what was lost is subscribed to again. What was missed until then is
                        // looked for; if it lasts, the missing signs tell.
                        self.tell(Heard::Lost);
                        continue;
                    }
                    if matches!(push.kind, PushKind::Subscribe | PushKind::SSubscribe) && sure {
                        self.tell(Heard::Lost);
                    }
                    let Some(partition) = self.take(&push) else { continue };
                    if let Some(sign) = usize::try_from(partition).ok().and_then(|at| signs.get_mut(at)) {
                        *sign = Instant::now();
                    }
                    if !sure && signs.iter().all(|sign| *sign > began) {
                        // Whatever was said before it stood is found in the log.
                        sure = true;
                        self.tell(Heard::Lost);
                        self.away.send_replace(None);
                        tracing::info!(place = self.place.shown(), "Redis is there");
                    }
                },
                said = news.recv() => {
                    let Some(said) = said else { return Ok(()) };
                    self.send(&mut wire, said, news).await?;
                }
                _ = tick.tick() => {
                    if let Some(silent) = signs.iter().position(|sign| sign.elapsed() > SILENCE) {
                        return Err(format!("nothing is heard from it (partition {silent})"));
                    }
                    for partition in 0..count {
                        let channel = own_channel(&self.prefix, partition, self.node);
                        wire.publish(&channel, partition.to_string().as_bytes()).await.map_err(|error| error.to_string())?;
                    }
                }
            }
        }
    }

    /// Sends a piece of news, and all that waits behind it.
    async fn send(&self, wire: &mut Wire, first: News, news: &mut mpsc::Receiver<News>) -> Result<(), String> {
        let mut parcels: Vec<(u64, Vec<News>)> = Vec::new();
        let (mut next, mut count) = (Some(first), 0);
        while let Some(said) = next {
            let partition = said.partition();
            match parcels.iter_mut().find(|(of, _)| *of == partition) {
                Some((_, all)) => all.push(said),
                None => parcels.push((partition, vec![said])),
            }
            count += 1;
            next = if count < TOGETHER { news.try_recv().ok() } else { None };
        }
        for (partition, all) in parcels {
            let count = all.len() as u64;
            let sent = wire.publish(&channel(&self.prefix, partition), &parcel(self.node, all)).await;
            let counted = if sent.is_ok() { &self.counts.sent } else { &self.counts.lost };
            counted.fetch_add(count, Ordering::Relaxed);
            sent.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn tell(&self, heard: Heard) {
        // No one listens: fine.
        let _ = self.heard.send(heard);
    }

    /// Takes in what was pushed; answers the partition when it is a sign of life.
    fn take(&self, push: &PushInfo) -> Option<u64> {
        if !matches!(push.kind, PushKind::Message | PushKind::SMessage) {
            return None;
        }
        let [Value::BulkString(channel), Value::BulkString(body)] = push.data.as_slice() else {
            return None;
        };
        if channel.ends_with(self.node.simple().to_string().as_bytes()) {
            return std::str::from_utf8(body).ok()?.parse().ok();
        }
        match serde_json::from_slice::<Parcel>(body) {
            Ok(parcel) if parcel.node == self.node => {}
            Ok(parcel) => {
                self.counts.heard.fetch_add(parcel.news.len() as u64, Ordering::Relaxed);
                for news in parcel.news {
                    self.tell(news.into());
                }
            }
            // A newer node's, maybe; the sweep finds what it meant.
            Err(error) => tracing::debug!(%error, "a message on the bus is not understood"),
        }
        None
    }
}

/// From 0 to 1, so that nodes do not come back all at once. Not for secrets.
fn spread() -> f64 {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.subsec_nanos());
    f64::from(nanos % 1_000) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parcels() {
        let org = OrgId(Uuid::from_u128(1));
        let hint = Hint {
            org,
            streams: vec![("c:1".into(), 7)],
            klasses: vec!["customer".into()],
            xid: 9,
        };
        let news = vec![hint.clone().into(), News::Withdrawn(Uuid::from_u128(2))];
        assert!(news.iter().all(|it: &News| it.partition() < PARTITIONS));
        let read: Parcel = serde_json::from_slice(&parcel(Uuid::nil(), news)).expect("a parcel");
        let heard: Vec<Heard> = read.news.into_iter().map(Heard::from).collect();
        assert_eq!(heard, [Heard::Hint(hint), Heard::Withdrawn(Uuid::from_u128(2))]);
    }

    #[test]
    fn a_partitions_channels_are_on_one_shard() {
        let node = Uuid::from_u128(3);
        assert_eq!(channel("klio", 7), "klio:{7}");
        assert!(own_channel("klio", 7, node).starts_with("klio:{7}:"));
    }
}
