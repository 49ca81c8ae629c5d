//! Listeners over a real log, on SQLite and Postgres; two nodes.

use std::time::Instant;

use klio_entities::klass::filter::Operand;
use klio_entities::klass::query::Key;
use klio_entities::klass::{Actor, Draft, ObjectId, Value};
use klio_entities::store::WriteOptions;

use super::*;
use crate::bus::InProcess;
use crate::live::tests::World;

/// Notes what it hears; fails as it is told to.
#[derive(Default)]
struct Noting {
    heard: Mutex<Vec<(String, i64)>>,
    /// Names for which it fails: so often, then it takes them; `u32::MAX`: always.
    fails: Mutex<HashMap<String, u32>>,
    slow: Duration,
    resyncs: AtomicU64,
}

impl Noting {
    fn heard(&self) -> Vec<(String, i64)> {
        lock(&self.heard).clone()
    }
}

#[async_trait]
impl Listener for Noting {
    fn name(&self) -> &'static str {
        "noting"
    }
    fn klasses(&self) -> Option<Vec<String>> {
        Some(vec!["customer".into()])
    }
    async fn hear(&self, event: &Arc<Event>) -> Result<(), Failure> {
        tokio::time::sleep(self.slow).await;
        let name = event.after.as_ref().and_then(|it| it["name"].as_str()).unwrap_or("?").to_owned();
        let left = match lock(&self.fails).get_mut(&name) {
            Some(left @ 1..1_000) => {
                *left -= 1;
                Some(*left)
            }
            Some(always @ 1_000..) => {
                return Err(if *always == 1_000 {
                    Failure::Never("it can never be".into())
                } else {
                    Failure::Later("always".into())
                });
            }
            Some(0) | None => None,
        };
        match left {
            Some(0) => panic!("a listener's own fault"),
            Some(_) => return Err(Failure::Later("not yet".into())),
            None => {}
        }
        lock(&self.heard).push((name, event.seq));
        Ok(())
    }
    async fn resync(&self, _: OrgId, _: Resync) -> Result<(), Failure> {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn times() -> Times {
    Times {
        lease: Duration::from_millis(1_200),
        sweep: Duration::from_millis(200),
        pause: (Duration::from_millis(5), Duration::from_millis(50)),
        tries: 4,
    }
}

fn start(world: &World, listener: Arc<dyn Listener>) -> Listeners {
    let bus: Arc<dyn Bus> = Arc::new(InProcess::new(world.store.clone()));
    Listeners::start(&world.store, &bus, vec![listener], times())
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(30), "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Until the listener has its place, so that what comes then is heard.
async fn placed(world: &World) {
    let first = world.store.head(world.org, &Source::Org).await.expect("a head");
    let began = Instant::now();
    loop {
        // Somebody else who asks does not get it: it is held.
        let other = world
            .store
            .lease(world.org, "noting", Uuid::nil(), Duration::ZERO, &first)
            .await
            .expect("an answer");
        if other.is_none() {
            return;
        }
        world.store.release(world.org, "noting", Uuid::nil()).await.expect("gives it back");
        assert!(began.elapsed() < Duration::from_secs(20), "no lease was taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_tried_again_and_set_aside_and_the_rest_goes_on() {
    for world in World::all().await {
        let noting = Arc::new(Noting::default());
        lock(&noting.fails).extend([("b".to_owned(), 2), ("c".to_owned(), u32::MAX), ("d".to_owned(), 1_000)]);
        let listeners = start(&world, noting.clone());
        placed(&world).await;
        for name in ["a", "b", "c", "d", "e"] {
            world.create(name).await;
        }
        until("e is heard", || noting.heard().iter().any(|(name, _)| name == "e")).await;
        let names: Vec<String> = noting.heard().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "e"], "in order, each once");
        until("it is told", || listeners.told()[0].1.lag == Duration::ZERO).await;
        let told = listeners.told()[0].1;
        assert_eq!((told.heard, told.failed, told.aside), (3, 2 + 4 + 1, 2), "{told:?}");
        let aside = world.store.set_aside(world.org, "noting").await.expect("a list");
        let mut reasons: Vec<(u32, &str)> = aside.iter().map(|it| (it.tries, it.why.as_str())).collect();
        reasons.sort_unstable();
        assert_eq!(reasons, [(1, "it can never be"), (4, "always")]);
        // Ended in good order, another goes on at once where this one stopped.
        listeners.stop().await;
        world.create("f").await;
        let again = Arc::new(Noting::default());
        let listeners = start(&world, again.clone());
        until("f is heard", || !again.heard().is_empty()).await;
        assert_eq!(again.heard().len(), 1, "{:?}", again.heard());
        // Another log.
        world.store.renew_epoch().await.expect("renews");
        world.create("g").await;
        until("it starts anew", || again.resyncs.load(Ordering::Relaxed) == 1).await;
        world.create("h").await;
        until("h is heard", || again.heard().iter().any(|(name, _)| name == "h")).await;
        listeners.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_node_works_for_each_and_another_takes_over() {
    for world in World::all().await {
        let world = Arc::new(world);
        let noting = [Arc::new(Noting::default()), Arc::new(Noting::default())];
        let mut nodes = vec![start(&world, noting[0].clone())];
        placed(&world).await;
        nodes.push(start(&world, noting[1].clone()));
        let (id, _) = world.create("0").await;
        for n in 1..30 {
            world.rename(id, &n.to_string()).await;
        }
        let all = || -> Vec<i64> {
            let mut seqs: Vec<i64> = noting.iter().flat_map(|it| it.heard()).map(|(_, seq)| seq).collect();
            seqs.sort_unstable();
            seqs
        };
        until("all is heard", || all().len() >= 30).await;
        assert_eq!(all(), (1..=30).collect::<Vec<i64>>(), "by one of them, once");
        // The one that works dies: its tasks are gone, its lease is not.
        let dies = usize::from(noting[0].heard().is_empty());
        let dead = nodes.remove(dies);
        lock(&dead.tasks).drain(..).for_each(|task| task.abort());
        let began = Instant::now();
        world.rename(id, "30").await;
        let other = noting[1 - dies].clone();
        until("the other takes over", || other.heard().iter().any(|(_, seq)| *seq == 31)).await;
        assert!(began.elapsed() < Duration::from_secs(10), "after {:?}", began.elapsed());
        nodes.remove(0).stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_lost_the_lease_moves_nothing() {
    for world in World::all().await {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = world.store.head(world.org, &Source::Org).await.expect("a head");
        let short = Duration::from_millis(150);
        let lease = async |node, time| world.store.lease(world.org, "x", node, time, &first).await.expect("an answer");
        assert_eq!(lease(one, short).await.map(|it| it.feed), Some(first.feed));
        assert_eq!(lease(two, short).await, None, "it is held");
        tokio::time::sleep(short * 2).await;
        assert!(lease(two, Duration::from_secs(60)).await.is_some(), "it has ended");
        world.create("a").await;
        let head = world.store.head(world.org, &Source::Org).await.expect("a head");
        let moved = world
            .store
            .move_on(world.org, "x", one, short, &head, vec![])
            .await
            .expect("an answer");
        assert!(!moved, "the lease is another's");
        assert_eq!(
            lease(two, short).await.map(|it| it.feed),
            Some(first.feed),
            "the place has not moved"
        );
        world.store.release(world.org, "x", one).await.expect("nothing to give back");
        assert_eq!(lease(one, short).await, None);
        world.store.release(world.org, "x", two).await.expect("gives it back");
        assert!(lease(one, short).await.is_some());
    }
}

/// Writes whenever it hears: for ever, if no one stops it.
struct Echo {
    store: Store,
    actor: Actor,
    registry: Arc<klio_entities::klass::Registry>,
}

#[async_trait]
impl Listener for Echo {
    fn name(&self) -> &'static str {
        "noting"
    }
    fn deepest(&self) -> u32 {
        3
    }
    async fn hear(&self, event: &Arc<Event>) -> Result<(), Failure> {
        let Some(id) = event.object else { return Ok(()) };
        let klass = self.registry.klass("customer").expect("a klass").clone();
        let set = klio_entities::klass::draft::Object {
            values: vec![(
                klass.property("name").expect("a property").clone(),
                Value::String(format!("{}", event.depth + 1)),
            )],
            klass,
            links: vec![],
            path: vec![],
        };
        let key = Key::Id(Operand::Const(Value::Id(ObjectId(id.0))));
        let draft = Draft::Update { key, version: None, set };
        let options = WriteOptions {
            cause: Some(consequence(event)),
            ..WriteOptions::default()
        };
        let written = self.store.write(&self.actor, &self.registry, vec![draft], options).await;
        written.map(|_| ()).map_err(|error| Failure::Later(error.to_string()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_is_cut() {
    for world in World::all().await {
        let listeners = start(
            &world,
            Arc::new(Echo {
                store: world.store.clone(),
                actor: world.actor.clone(),
                registry: world.registry.clone(),
            }),
        );
        placed(&world).await;
        let (id, first) = world.create("0").await;
        until("it is cut", || listeners.told()[0].1.cut > 0).await;
        listeners.stop().await;
        let source = Source::Stream(format!("c:{}", id.0));
        let Events::Page { events, .. } = world.store.events(world.org, &source, &first, 100).await.expect("events") else {
            panic!("the log is whole")
        };
        let depths: Vec<u32> = events.iter().map(|event| event.depth).collect();
        assert_eq!(depths, [1, 2, 3, 4], "each the consequence of the one before");
        assert!(events.windows(2).all(|pair| pair[1].cause == Some(pair[0].id)));
    }
}
