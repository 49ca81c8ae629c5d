//! Hubs over a real log.

use std::time::Instant;

use klio_entities::klass::draft::Object;
use klio_entities::klass::filter::Operand;
use klio_entities::klass::query::Key;
use klio_entities::klass::{Actor, Draft, ObjectId, Registry, Value, resolve};
use klio_entities::store::{StoreConfig, WriteOptions};
use sea_orm::ConnectionTrait;

use super::*;

pub(crate) struct World {
    pub store: Store,
    pub org: OrgId,
    pub actor: Actor,
    pub registry: Arc<Registry>,
    url: String,
    _dir: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        // Best effort: a database that stays behind harms no other test.
        let (Some((base, name)), Ok(runtime)) = (self.url.rsplit_once('/'), tokio::runtime::Handle::try_current()) else {
            return;
        };
        if name.starts_with("klio_live_") {
            let (server, sql) = (format!("{base}/postgres"), format!("drop database if exists {name} with (force)"));
            tokio::task::block_in_place(|| {
                runtime.block_on(async {
                    if let Ok(admin) = Store::open(&StoreConfig::new(server)).await {
                        let _ = admin.connection().execute_unprepared(&sql).await;
                    }
                });
            });
        }
    }
}

impl World {
    pub(crate) async fn all() -> Vec<World> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut worlds = vec![Self::open(format!("sqlite:{}", dir.path().join("klio.db").display()), dir).await];
        if let Ok(server) = std::env::var("KLIO_TEST_POSTGRES_URL") {
            // An org of its own in a database of its own.
            let name = format!("klio_live_{}", uuid());
            let admin = Store::open(&StoreConfig::new(&server)).await.expect("a server");
            admin
                .connection()
                .execute_unprepared(&format!("create database {name}"))
                .await
                .expect("a database");
            let (base, _) = server.rsplit_once('/').expect("a URL");
            worlds.push(Self::open(format!("{base}/{name}"), tempfile::tempdir().expect("a directory")).await);
        }
        worlds
    }

    async fn open(url: String, dir: tempfile::TempDir) -> World {
        let store = Store::open(&StoreConfig::new(&url)).await.expect("opens");
        store.migrate().await.expect("migrates");
        let org = OrgId(store.create_org("acme", "Acme").await.expect("an org").id);
        World {
            store,
            org,
            actor: Actor::system(org),
            registry: Arc::new(resolve::resolve(org, "acme", 1, &[]).expect("a registry")),
            url,
            _dir: dir,
        }
    }

    fn named(&self, name: &str) -> Object {
        let klass = self.registry.klass("customer").expect("a klass").clone();
        Object {
            values: vec![(klass.property("name").expect("a property").clone(), Value::String(name.into()))],
            klass,
            links: vec![],
            path: vec![],
        }
    }

    async fn write(&self, draft: Draft) -> (ObjectId, Cursor) {
        let written = self
            .store
            .write(&self.actor, &self.registry, vec![draft], WriteOptions::default())
            .await
            .expect("writes")
            .remove(0)
            .expect("writes");
        let identity = self.store.identity().await.expect("an identity");
        (
            written.ids[0],
            identity
                .decode(self.org, written.cursor.as_deref().expect("a cursor"))
                .expect("a cursor"),
        )
    }

    pub(crate) async fn create(&self, name: &str) -> (ObjectId, Cursor) {
        self.write(Draft::Create(self.named(name))).await
    }

    pub(crate) async fn rename(&self, id: ObjectId, name: &str) -> Cursor {
        let key = Key::Id(Operand::Const(Value::Id(id)));
        let set = self.named(name);
        self.write(Draft::Update { key, version: None, set }).await.1
    }
}

fn uuid() -> String {
    // Only the test's own databases bear such names.
    format!(
        "{:x}{:x}",
        std::process::id(),
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a time")
            .as_nanos()
    )
}

async fn take<S: Stream<Item = Live> + Unpin>(stream: &mut S) -> Live {
    tokio::time::timeout(Duration::from_secs(10), stream.next())
        .await
        .expect("in time")
        .expect("an item")
}

fn name(live: &Live) -> String {
    match live {
        Live::Event(event) => event.after.as_ref().and_then(|row| row["name"].as_str()).unwrap_or("?").to_string(),
        Live::CaughtUp(_) => "CAUGHT_UP".into(),
        Live::Resync { reason } => format!("RESYNC {reason:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn from_now_on_from_a_cursor_and_again_from_where_it_ended() {
    for world in World::all().await {
        let lives = Lives::new(world.store.clone());
        let (id, first) = world.create("a").await;
        let source = Source::Stream(format!("c:{}", id.0));
        let mut now = Box::pin(lives.subscribe(world.org, source.clone(), None));
        assert_eq!(name(&take(&mut now).await), "CAUGHT_UP");
        world.rename(id, "b").await;
        assert_eq!(name(&take(&mut now).await), "b");
        let mut late = Box::pin(lives.subscribe(world.org, source.clone(), Some(first)));
        assert_eq!(name(&take(&mut late).await), "b");
        let Live::CaughtUp(cursor) = take(&mut late).await else {
            panic!("is caught up")
        };
        drop((now, late));
        world.rename(id, "c").await;
        let mut again = Box::pin(lives.subscribe(world.org, source.clone(), Some(cursor)));
        assert_eq!(name(&take(&mut again).await), "c");
        assert_eq!(name(&take(&mut again).await), "CAUGHT_UP");
        // A whole klass, from the same cursor.
        let mut klass = Box::pin(lives.subscribe(world.org, Source::Klass("customer".into()), Some(first)));
        assert_eq!(name(&take(&mut klass).await), "b");
        assert_eq!(name(&take(&mut klass).await), "c");
        assert_eq!(name(&take(&mut klass).await), "CAUGHT_UP");
        world.create("d").await;
        let began = Instant::now();
        assert_eq!(name(&take(&mut klass).await), "d");
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(lives.hubs(), 2);
        drop((again, klass));
        tokio::time::sleep(SWEEP * 3 + Duration::from_millis(300)).await;
        assert_eq!(lives.hubs(), 0, "no one needs them");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_hint_is_made_up_for_and_a_lost_log_is_told() {
    struct Deaf;
    impl Bus for Deaf {
        fn heard(&self) -> BoxStream<'static, Heard> {
            futures_util::stream::pending().boxed()
        }
        fn beat(&self, _: crate::bus::Beat) {}
        fn withdraw(&self, _: uuid::Uuid) {}
    }
    for world in World::all().await {
        let lives = Lives::with_bus(world.store.clone(), Arc::new(Deaf));
        let (id, first) = world.create("a").await;
        let source = Source::Stream(format!("c:{}", id.0));
        let mut stream = Box::pin(lives.subscribe(world.org, source.clone(), Some(first)));
        let mut klass = Box::pin(lives.subscribe(world.org, Source::Klass("customer".into()), Some(first)));
        assert_eq!(name(&take(&mut stream).await), "CAUGHT_UP");
        assert_eq!(name(&take(&mut klass).await), "CAUGHT_UP");
        world.rename(id, "b").await;
        assert_eq!(name(&take(&mut stream).await), "b");
        assert_eq!(name(&take(&mut klass).await), "b");
        world.store.renew_epoch().await.expect("renews");
        let mut stale = Box::pin(lives.subscribe(world.org, source.clone(), Some(first)));
        assert_eq!(name(&take(&mut stale).await), "RESYNC Epoch");
        assert!(stale.next().await.is_none());
        // Those who were live are told too.
        world.rename(id, "c").await;
        assert_eq!(name(&take(&mut stream).await), "RESYNC Epoch");
        assert_eq!(name(&take(&mut klass).await), "RESYNC Epoch");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_fast_and_slow_readers_nothing_lost_or_doubled() {
    for world in World::all().await {
        let world = Arc::new(world);
        let lives = Lives::new(world.store.clone());
        let (id, first) = world.create("0").await;
        let source = Source::Stream(format!("c:{}", id.0));
        const EACH: usize = 100;
        const WRITERS: usize = 4;
        let mut readers = Vec::new();
        for slow in [0u64, 0, 1, 4] {
            let mut stream = Box::pin(lives.subscribe(world.org, source.clone(), Some(first)));
            readers.push(tokio::spawn(async move {
                let mut seqs = Vec::new();
                while seqs.len() < EACH * WRITERS {
                    match take(&mut stream).await {
                        Live::Event(event) => seqs.push(event.seq),
                        Live::CaughtUp(_) => {}
                        Live::Resync { reason } => panic!("{reason}"),
                    }
                    if slow > 0 {
                        tokio::time::sleep(Duration::from_millis(slow)).await;
                    }
                }
                seqs
            }));
        }
        let klass = {
            let mut stream = Box::pin(lives.subscribe(world.org, Source::Klass("customer".into()), Some(first)));
            tokio::spawn(async move {
                let mut seqs = Vec::new();
                while seqs.len() < EACH * WRITERS {
                    if let Live::Event(event) = take(&mut stream).await {
                        seqs.push(event.seq);
                    }
                }
                seqs
            })
        };
        let mut writers = Vec::new();
        for w in 0..WRITERS {
            let world = world.clone();
            writers.push(tokio::spawn(async move {
                for i in 0..EACH {
                    world.rename(id, &format!("{w}.{i}")).await;
                }
            }));
        }
        for writer in writers {
            writer.await.expect("ends");
        }
        let expected: Vec<i64> = (2..=(EACH * WRITERS + 1) as i64).collect();
        for reader in readers {
            assert_eq!(reader.await.expect("ends"), expected);
        }
        assert_eq!(klass.await.expect("ends"), expected, "the feed keeps the stream's order");
    }
}

/// Postgres: what is committed while an older transaction is open is hidden from the feed; a subscription that begins then does not
/// say that it has caught up before it has told of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_older_transactions_hide_is_told_before_it_is_caught_up() {
    for world in World::all().await {
        if !world.url.starts_with("postgres") {
            continue;
        }
        let admin = Store::open(&StoreConfig::new(&world.url)).await.expect("opens");
        let older = sea_orm::TransactionTrait::begin(&admin.connection()).await.expect("begins");
        older
            .execute_unprepared("select pg_current_xact_id()")
            .await
            .expect("a transaction number");
        let (hidden, _) = world.create("Ann").await;
        let lives = Lives::new(world.store.clone());
        let mut klass = Box::pin(lives.subscribe(world.org, Source::Klass("customer".into()), None));
        let early = tokio::time::timeout(Duration::from_millis(600), klass.next()).await;
        assert!(early.is_err(), "{early:?}");
        older.commit().await.expect("commits");
        let next = tokio::time::timeout(Duration::from_secs(5), klass.next()).await.expect("in time");
        assert!(
            matches!(&next, Some(Live::Event(event)) if event.object == Some(hidden)),
            "{next:?}"
        );
        let next = tokio::time::timeout(Duration::from_secs(5), klass.next()).await.expect("in time");
        assert!(matches!(next, Some(Live::CaughtUp(_))), "{next:?}");
    }
}

/// A bus that loses a third of the news, tells some twice, and most late and out of order.
struct Unruly(InProcess);

impl Bus for Unruly {
    fn heard(&self) -> BoxStream<'static, Heard> {
        let (to, from) = tokio::sync::mpsc::unbounded_channel();
        let mut heard = self.0.heard();
        tokio::spawn(async move {
            let (mut held, mut n) = (Vec::new(), 0u64);
            while let Some(news) = heard.next().await {
                // A generator whose next value is as good as a throw of dice, and the same each time.
                n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                match (n >> 33) % 6 {
                    0 | 1 => {}
                    2 => {
                        if to.send(news.clone()).and_then(|()| to.send(news)).is_err() {
                            return;
                        }
                    }
                    _ => held.push(news),
                }
                if held.len() > 5 {
                    for news in held.drain(..).rev() {
                        if to.send(news).is_err() {
                            return;
                        }
                    }
                }
            }
        });
        futures_util::stream::unfold(from, |mut from| async move { Some((from.recv().await?, from)) }).boxed()
    }
    fn beat(&self, beat: crate::bus::Beat) {
        self.0.beat(beat);
    }
    fn withdraw(&self, token: uuid::Uuid) {
        self.0.withdraw(token);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn news_that_is_lost_doubled_or_out_of_order_does_no_harm() {
    for world in World::all().await {
        let world = Arc::new(world);
        let lives = Lives::with_bus(world.store.clone(), Arc::new(Unruly(InProcess::new(world.store.clone()))));
        let (id, first) = world.create("0").await;
        const EACH: usize = 60;
        const WRITERS: usize = 3;
        let mut readers = Vec::new();
        for source in [Source::Stream(format!("c:{}", id.0)), Source::Klass("customer".into()), Source::Org] {
            let mut stream = Box::pin(lives.subscribe(world.org, source, Some(first)));
            readers.push(tokio::spawn(async move {
                let mut seqs = Vec::new();
                while seqs.len() < EACH * WRITERS {
                    match take(&mut stream).await {
                        Live::Event(event) => seqs.push(event.seq),
                        Live::CaughtUp(_) => {}
                        Live::Resync { reason } => panic!("{reason}"),
                    }
                }
                seqs
            }));
        }
        let mut writers = Vec::new();
        for w in 0..WRITERS {
            let world = world.clone();
            writers.push(tokio::spawn(async move {
                for i in 0..EACH {
                    world.rename(id, &format!("{w}.{i}")).await;
                    if i % 10 == 0 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }));
        }
        for writer in writers {
            writer.await.expect("ends");
        }
        let expected: Vec<i64> = (2..=(EACH * WRITERS + 1) as i64).collect();
        for reader in readers {
            assert_eq!(reader.await.expect("ends"), expected, "each once, in order");
        }
    }
}
