//! From an event to those whom it concerns, by what it is and not by asking each: an index by klass, then by one equality that
//! must hold of the object before or after. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use klio_entities::store::event::{Event, EventOp};
use serde_json::{Map, Value as Json};

/// What concerns a listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Interest {
    /// Everything.
    #[default]
    All,
    /// What one of these says.
    Any(Vec<Term>),
}

/// Events of objects of one klass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Term {
    /// The klass.
    pub klass: String,
    /// The row, before or after, has in each of these columns one of these values, as stored. The column `id` is the object's id.
    pub equal: Vec<(String, Vec<Json>)>,
    /// Of updates, only those that change one of these (legal names).
    pub changed: Option<BTreeSet<String>>,
}

impl Interest {
    /// Whether an event concerns.
    pub fn holds(&self, event: &Event) -> bool {
        match self {
            Interest::All => true,
            Interest::Any(terms) => terms.iter().any(|term| term.holds(event)),
        }
    }

    /// The klasses whose events concern; `None`: all.
    pub fn klasses(&self) -> Option<BTreeSet<&str>> {
        match self {
            Interest::All => None,
            Interest::Any(terms) => Some(terms.iter().map(|term| term.klass.as_str()).collect()),
        }
    }
}

impl Term {
    fn holds(&self, event: &Event) -> bool {
        self.klass == event.klass && self.holds_of(event)
    }

    /// The same, of an event of its klass.
    fn holds_of(&self, event: &Event) -> bool {
        let changes = match (&self.changed, event.op) {
            (Some(names), EventOp::Updated | EventOp::Linked | EventOp::Unlinked) => event.changed.iter().any(|name| names.contains(name)),
            _ => true,
        };
        let row = |image: &Option<Map<String, Json>>| {
            image.as_ref().is_some_and(|image| {
                let equal = |(column, values): &(String, Vec<Json>)| value(event, image, column).is_some_and(|it| values.contains(&it));
                self.equal.iter().all(equal)
            })
        };
        changes && (self.equal.is_empty() || row(&event.before) || row(&event.after))
    }
}

/// The value of a column; an absent one is null, which equals nothing.
fn value(event: &Event, image: &Map<String, Json>, column: &str) -> Option<Json> {
    match column {
        "id" => event.object.map(|id| Json::String(id.0.to_string())),
        _ => image.get(column).cloned(),
    }
}

fn hash(value: &Json) -> u64 {
    let mut hasher = DefaultHasher::new();
    match value {
        Json::String(text) => text.hash(&mut hasher),
        other => other.to_string().hash(&mut hasher),
    }
    hasher.finish()
}

/// Which listener.
pub type Listener = usize;

/// Who is interested in what.
#[derive(Debug, Default)]
pub struct Router {
    all: BTreeSet<Listener>,
    klasses: HashMap<String, Klass>,
    /// What each said, so that it can be taken back.
    said: HashMap<Listener, Interest>,
}

#[derive(Debug, Default)]
struct Klass {
    /// Terms without an equality.
    plain: Vec<(Listener, Term)>,
    /// By column and value (hashed) of each term's first equality.
    by: HashMap<String, HashMap<u64, Vec<(Listener, Term)>>>,
}

impl Router {
    /// Someone listens.
    pub fn add(&mut self, listener: Listener, interest: Interest) {
        self.remove(listener);
        match &interest {
            Interest::All => {
                self.all.insert(listener);
            }
            Interest::Any(terms) => {
                for term in terms {
                    let klass = self.klasses.entry(term.klass.clone()).or_default();
                    match term.equal.first() {
                        None => klass.plain.push((listener, term.clone())),
                        Some((column, values)) => {
                            let by = klass.by.entry(column.clone()).or_default();
                            let hashes: HashSet<u64> = values.iter().map(hash).collect();
                            for hash in hashes {
                                by.entry(hash).or_default().push((listener, term.clone()));
                            }
                        }
                    }
                }
            }
        }
        self.said.insert(listener, interest);
    }

    /// Someone listens no more.
    pub fn remove(&mut self, listener: Listener) {
        match self.said.remove(&listener) {
            None => {}
            Some(Interest::All) => {
                self.all.remove(&listener);
            }
            Some(Interest::Any(terms)) => {
                for term in terms {
                    let Some(klass) = self.klasses.get_mut(&term.klass) else { continue };
                    match term.equal.first() {
                        None => klass.plain.retain(|(it, _)| *it != listener),
                        Some((column, values)) => {
                            if let Some(by) = klass.by.get_mut(column) {
                                for hash in values.iter().map(hash) {
                                    if let Some(terms) = by.get_mut(&hash) {
                                        terms.retain(|(it, _)| *it != listener);
                                        if terms.is_empty() {
                                            by.remove(&hash);
                                        }
                                    }
                                }
                                if by.is_empty() {
                                    klass.by.remove(column);
                                }
                            }
                        }
                    }
                    if klass.plain.is_empty() && klass.by.is_empty() {
                        self.klasses.remove(&term.klass);
                    }
                }
            }
        }
    }

    /// Those whom an event concerns, each once; answers too how many terms were looked at.
    pub fn route(&self, event: &Event, to: &mut BTreeSet<Listener>) -> usize {
        let mut looked = 0;
        to.extend(&self.all);
        let Some(klass) = self.klasses.get(&event.klass) else {
            return looked;
        };
        let mut see = |terms: &[(Listener, Term)]| {
            looked += terms.len();
            to.extend(terms.iter().filter(|(_, term)| term.holds_of(event)).map(|(listener, _)| *listener));
        };
        see(&klass.plain);
        for (column, by) in &klass.by {
            let mut last = None;
            for image in [&event.before, &event.after].into_iter().flatten() {
                let Some(hash) = value(event, image, column).as_ref().map(hash) else {
                    continue;
                };
                // Most updates leave it as it was.
                if last.replace(hash) != Some(hash)
                    && let Some(terms) = by.get(&hash)
                {
                    see(terms);
                }
            }
        }
        looked
    }

    /// The klasses that anyone is interested in; `None`: all.
    pub fn klasses(&self) -> Option<BTreeSet<String>> {
        self.all.is_empty().then(|| self.klasses.keys().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use klio_entities::klass::{ObjectId, OrgId};
    use klio_entities::store::cursor::FeedPosition;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(klass: &str, before: Option<Json>, after: Option<Json>, changed: &[&str]) -> Event {
        let image = |json: Option<Json>| json.and_then(|it| it.as_object().cloned());
        Event {
            org: OrgId(Default::default()),
            stream: "s".into(),
            seq: 1,
            feed: FeedPosition {
                xid: 0,
                position: 1,
                own: klio_entities::store::cursor::Own::NONE,
            },
            id: Default::default(),
            klass: klass.into(),
            object: Some(ObjectId(Default::default())),
            op: if before.is_none() { EventOp::Created } else { EventOp::Updated },
            actor: String::new(),
            at: Default::default(),
            cause: None,
            depth: 0,
            changed: changed.iter().map(|it| (*it).to_owned()).collect(),
            before: image(before),
            after: image(after),
        }
    }

    fn term(klass: &str, equal: &[(&str, &[Json])]) -> Term {
        Term {
            klass: klass.into(),
            equal: equal
                .iter()
                .map(|(column, values)| ((*column).to_owned(), values.to_vec()))
                .collect(),
            changed: None,
        }
    }

    #[test]
    fn an_event_is_not_shown_to_everyone() {
        let mut router = Router::default();
        for n in 0..10_000 {
            let mine = [json!(format!("agent {n}"))];
            router.add(
                n,
                Interest::Any(vec![term("conversation", &[("assignee_id", &mine), ("status", &[json!("open")])])]),
            );
        }
        let mut to = BTreeSet::new();
        let handed_over = event(
            "conversation",
            Some(json!({"assignee_id": "agent 7", "status": "open"})),
            Some(json!({"assignee_id": "agent 9000", "status": "open"})),
            &["assignee"],
        );
        let looked = router.route(&handed_over, &mut to);
        assert_eq!((to, looked), (BTreeSet::from([7, 9000]), 2));
        for n in 0..10_000 {
            router.remove(n);
        }
        assert_eq!(router.route(&handed_over, &mut BTreeSet::new()), 0);
        assert_eq!(router.klasses(), Some(BTreeSet::new()));
    }

    #[test]
    fn an_update_of_what_is_not_read_concerns_no_one() {
        let mut router = Router::default();
        let names = BTreeSet::from(["name".to_owned()]);
        let term = Term {
            changed: Some(names),
            ..term("company", &[])
        };
        router.add(1, Interest::Any(vec![term]));
        let told = |event: &Event| {
            let mut to = BTreeSet::new();
            router.route(event, &mut to);
            !to.is_empty()
        };
        let row = || Some(json!({}));
        assert!(!told(&event("company", row(), row(), &["domains"])));
        assert!(told(&event("company", row(), row(), &["domains", "name"])));
        assert!(told(&event("company", None, row(), &[])));
    }

    fn interests() -> impl Strategy<Value = Interest> {
        let values = prop::collection::vec((0..3i32).prop_map(Json::from), 1..3);
        let equal = prop::collection::vec((prop::sample::select(vec!["x".to_owned(), "y".into()]), values), 0..3);
        let term = (prop::sample::select(vec!["a".to_owned(), "b".into()]), equal).prop_map(|(klass, equal)| Term {
            klass,
            equal,
            changed: None,
        });
        prop_oneof![1 => Just(Interest::All), 9 => prop::collection::vec(term, 0..3).prop_map(Interest::Any)]
    }

    proptest! {
        /// The index says what asking each would say, whoever comes and goes.
        #[test]
        fn the_index_tells_the_same(
            all in prop::collection::vec((0..12usize, prop::option::weighted(0.8, interests())), 1..40),
            rows in prop::collection::vec((prop::bool::ANY, prop::option::of((0..3i32, 0..3i32)), prop::option::of((0..3i32, 0..3i32))), 1..8),
        ) {
            let mut router = Router::default();
            let mut model: HashMap<usize, Interest> = HashMap::new();
            for (who, interest) in all {
                match interest {
                    Some(interest) => {
                        router.add(who, interest.clone());
                        model.insert(who, interest);
                    }
                    None => {
                        router.remove(who);
                        model.remove(&who);
                    }
                }
            }
            for (a, before, after) in rows {
                let row = |it: Option<(i32, i32)>| it.map(|(x, y)| json!({"x": x, "y": y}));
                let event = event(if a { "a" } else { "b" }, row(before), row(after), &[]);
                let mut to = BTreeSet::new();
                router.route(&event, &mut to);
                let expected: BTreeSet<usize> = model.iter().filter(|(_, it)| it.holds(&event)).map(|(who, _)| *who).collect();
                prop_assert_eq!(to, expected);
            }
        }
    }
}
