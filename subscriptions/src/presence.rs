//! Who is there: who looks at an object or types there, as the nodes tell each other. Nothing of it is stored; a beat is good for a
//! few seconds and comes again while somebody is there, so a lost one does no harm.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use klio_entities::klass::OrgId;
use tokio::sync::watch;
use uuid::Uuid;

use crate::bus::{Beat, Bus};

/// For how long a beat is good.
pub const LASTS: Duration = Duration::from_secs(15);
/// How many may be present at one object; more are not told.
const PRESENT: usize = 200;
/// At how many objects of one org somebody may be, or may be looked for; beats for more are dropped. (At some 200 bytes each.)
const OBJECTS: usize = 10_000;

/// Somebody who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Who: `kind:id:name`.
    pub actor: String,
    /// Types, and does not only look.
    pub typing: bool,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Those who are at one object, in the order of their names.
pub type List = Arc<Vec<Present>>;

/// Who is there, as far as this node has heard.
#[derive(Debug)]
pub struct Presences {
    bus: Bussed,
    objects: Mutex<Objects>,
}

/// By org, so that no org takes another's room, and nobody is told of another org's.
type Objects = HashMap<OrgId, HashMap<Uuid, Object>>;

struct Bussed(Arc<dyn Bus>);

impl std::fmt::Debug for Bussed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bus")
    }
}

#[derive(Debug)]
struct Object {
    present: BTreeMap<String, (Present, Instant)>,
    told: watch::Sender<List>,
}

impl Default for Object {
    fn default() -> Self {
        Self {
            present: BTreeMap::new(),
            told: watch::Sender::new(List::default()),
        }
    }
}

impl Object {
    /// Tells who is there, if that is news.
    fn tell(&self) {
        let list: Vec<Present> = self.present.values().map(|(present, _)| present.clone()).collect();
        self.told.send_if_modified(|told| {
            let news = **told != list;
            if news {
                *told = Arc::new(list);
            }
            news
        });
    }
}

impl Presences {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self {
            bus: Bussed(bus),
            objects: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        // What it guards is whole between any two statements, so a panic elsewhere spoils nothing.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody is there: tells all nodes.
    pub fn beat(&self, org: OrgId, of: Uuid, actor: String, typing: bool) {
        self.tell(org, of, actor, typing, LASTS);
    }

    /// Somebody has gone: tells all nodes.
    pub fn gone(&self, org: OrgId, of: Uuid, actor: String) {
        self.tell(org, of, actor, false, Duration::ZERO);
    }

    fn tell(&self, org: OrgId, of: Uuid, actor: String, typing: bool, lasts: Duration) {
        self.bus.0.beat(Beat {
            org,
            of,
            actor,
            typing,
            millis: u32::try_from(lasts.as_millis()).unwrap_or(u32::MAX),
        });
    }

    /// Whether somebody is at an object, as far as this node has heard.
    pub fn knows(&self, org: OrgId, of: Uuid, actor: &str) -> bool {
        let objects = self.lock();
        let object = objects.get(&org).and_then(|its| its.get(&of));
        object.is_some_and(|object| object.present.contains_key(actor))
    }

    /// Who is at an object, and whenever that changes.
    pub fn watch(&self, org: OrgId, of: Uuid) -> watch::Receiver<List> {
        self.lock().entry(org).or_default().entry(of).or_default().told.subscribe()
    }

    /// A beat was heard.
    pub(crate) fn heard(&self, beat: Beat) {
        let mut objects = self.lock();
        let its = objects.entry(beat.org).or_default();
        if !its.contains_key(&beat.of) && (its.len() >= OBJECTS || beat.millis == 0) {
            return;
        }
        let object = its.entry(beat.of).or_default();
        if beat.millis == 0 {
            object.present.remove(&beat.actor);
        } else {
            let until = Instant::now() + Duration::from_millis(u64::from(beat.millis)).min(4 * LASTS);
            let full = object.present.len() >= PRESENT;
            match object.present.get_mut(&beat.actor) {
                Some((present, end)) => {
                    present.typing = beat.typing;
                    *end = until;
                }
                None if full => return,
                None => {
                    let present = Present {
                        actor: beat.actor.clone(),
                        typing: beat.typing,
                        since: Utc::now(),
                    };
                    object.present.insert(beat.actor, (present, until));
                }
            }
        }
        object.tell();
    }

    /// Lets go of those who have not been heard of, and of objects that no one watches and where no one is.
    pub(crate) fn sweep(&self) {
        self.sweep_at(Instant::now());
    }

    fn sweep_at(&self, now: Instant) {
        self.lock().retain(|_, its| {
            its.retain(|_, object| {
                let before = object.present.len();
                object.present.retain(|_, (_, until)| *until > now);
                if object.present.len() != before {
                    object.tell();
                }
                !object.present.is_empty() || object.told.receiver_count() > 0
            });
            !its.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use futures_util::stream::BoxStream;

    use super::*;
    use crate::bus::Heard;

    struct NoBus;
    impl Bus for NoBus {
        fn heard(&self) -> BoxStream<'static, Heard> {
            futures_util::stream::pending().boxed()
        }
        fn beat(&self, _: Beat) {}
        fn withdraw(&self, _: Uuid) {}
    }

    fn beat(of: u128, actor: &str, typing: bool, millis: u32) -> Beat {
        Beat {
            org: OrgId(Uuid::nil()),
            of: Uuid::from_u128(of),
            actor: actor.into(),
            typing,
            millis,
        }
    }

    #[test]
    fn who_beats_no_more_is_gone() {
        let presences = Presences::new(Arc::new(NoBus));
        let mut watched = presences.watch(OrgId(Uuid::nil()), Uuid::from_u128(1));
        let mut told = || {
            let news = watched.has_changed().unwrap_or(false);
            let list = watched
                .borrow_and_update()
                .iter()
                .map(|it| (it.actor.clone(), it.typing))
                .collect::<Vec<_>>();
            (news, list)
        };
        presences.heard(beat(1, "user:2:Bob", false, 1_000));
        presences.heard(beat(1, "user:1:Ann", false, 10_000));
        presences.heard(beat(2, "user:3:Cy", false, 10_000));
        assert_eq!(told(), (true, vec![("user:1:Ann".into(), false), ("user:2:Bob".into(), false)]));
        presences.heard(beat(1, "user:1:Ann", false, 10_000));
        assert!(!told().0, "the same again is no news");
        presences.heard(beat(1, "user:1:Ann", true, 10_000));
        assert_eq!(told().1[0], ("user:1:Ann".into(), true));
        presences.sweep_at(Instant::now() + Duration::from_secs(2));
        assert_eq!(told(), (true, vec![("user:1:Ann".into(), true)]));
        presences.heard(beat(1, "user:1:Ann", true, 0));
        assert_eq!(told(), (true, vec![]));
        presences.sweep_at(Instant::now() + Duration::from_secs(100));
        let known = |presences: &Presences| presences.lock().values().map(HashMap::len).sum::<usize>();
        assert_eq!(known(&presences), 1, "what is watched stays known");
        drop(watched);
        presences.sweep();
        assert!(presences.lock().is_empty());
    }

    #[test]
    fn an_org_neither_hears_of_another_nor_takes_its_room() {
        let presences = Presences::new(Arc::new(NoBus));
        let (mine, other) = (OrgId(Uuid::nil()), OrgId(Uuid::from_u128(1)));
        for of in 0..=OBJECTS as u128 {
            presences.heard(beat(of, "user:1:Ann", false, 1_000));
        }
        let knows = |org, of: usize| presences.knows(org, Uuid::from_u128(of as u128), "user:1:Ann");
        assert_eq!((knows(mine, 0), knows(mine, OBJECTS)), (true, false), "what is too much is dropped");
        presences.heard(Beat {
            org: other,
            ..beat(0, "user:2:Bob", true, 1_000)
        });
        let there = |org| {
            presences
                .watch(org, Uuid::nil())
                .borrow()
                .iter()
                .map(|it| it.actor.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (there(mine), there(other)),
            (vec!["user:1:Ann".to_owned()], vec!["user:2:Bob".to_owned()])
        );
    }
}
