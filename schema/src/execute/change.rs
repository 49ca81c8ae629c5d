//! From what befell an object to what a subscriber is told: membership, by the image before and the image after. Pure.

use std::collections::{HashMap, VecDeque};

use klio_entities::klass::ObjectId;
use serde_json::{Map, Value as Json};

/// What a subscriber is told of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came into view.
    Added,
    /// It is in view still, and other than before.
    Updated,
    /// It left the view; its id alone is told.
    Removed,
}

impl Change {
    /// The value of the enum `ChangeKind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Added => "ADDED",
            Change::Updated => "UPDATED",
            Change::Removed => "REMOVED",
        }
    }
}

/// Whether an object is in view: yes, no, or not to be told from the image alone.
pub type Judgement = Option<bool>;

/// The image of an object that exists and is not deleted.
pub fn alive(image: Option<&Map<String, Json>>) -> Option<&Map<String, Json>> {
    image.filter(|it| it.get("deleted_at").is_none_or(Json::is_null))
}

/// Judges an image: one that is not there is in nobody's view.
pub fn judge(image: Option<&Map<String, Json>>, matches: impl FnOnce(&Map<String, Json>) -> Judgement) -> Judgement {
    match alive(image) {
        Some(image) => matches(image),
        None => Some(false),
    }
}

/// What to tell, given whether the object was in view before and whether it is now. `before` may be unknown: then an object that is
/// in view is told as updated and one that is not as removed; both are true of a client that had it and harmless to one that had not.
pub fn decide(before: Judgement, after: bool) -> Option<Change> {
    match (before, after) {
        (Some(false), true) => Some(Change::Added),
        (Some(true) | None, true) => Some(Change::Updated),
        (Some(true) | None, false) => Some(Change::Removed),
        (Some(false), false) => None,
    }
}

/// How many objects a subscription remembers; the oldest are forgotten first.
const REMEMBERED: usize = 1024;

/// What a subscription last told of objects whose membership the images alone cannot tell.
#[derive(Debug, Default)]
pub struct Memory {
    known: HashMap<ObjectId, bool>,
    order: VecDeque<ObjectId>,
}

impl Memory {
    /// Whether it was in view when last told.
    pub fn recall(&self, id: ObjectId) -> Judgement {
        self.known.get(&id).copied()
    }

    /// Remembers it.
    pub fn note(&mut self, id: ObjectId, in_view: bool) {
        if self.known.insert(id, in_view).is_none() {
            self.order.push_back(id);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(json: Json) -> Map<String, Json> {
        json.as_object().cloned().unwrap_or_default()
    }

    /// What a subscriber with the filter `status = open` is told of a write that turned `before` into `after`.
    fn told(before: Json, after: Json) -> Option<Change> {
        let open = |it: &Map<String, Json>| it.get("status").map(|status| status == "open");
        let (before, after) = (image(before), image(after));
        let before = judge((!before.is_empty()).then_some(&before), open);
        let after = judge((!after.is_empty()).then_some(&after), open);
        decide(before, after.unwrap_or(true))
    }

    #[test]
    fn membership_by_image() {
        use serde_json::json;
        let (open, done) = (json!({"status": "open"}), json!({"status": "done"}));
        let deleted = json!({"status": "open", "deleted_at": "2026-11-24T13:05:04Z"});
        let nothing = json!({});
        for (before, after, expected) in [
            (&nothing, &open, Some(Change::Added)),
            (&nothing, &done, None),
            (&open, &open, Some(Change::Updated)),
            (&done, &open, Some(Change::Added)),
            (&open, &done, Some(Change::Removed)),
            (&done, &done, None),
            (&open, &deleted, Some(Change::Removed)),
            (&deleted, &open, Some(Change::Added)),
            (&deleted, &nothing, None),
            (&done, &deleted, None),
        ] {
            assert_eq!(told(before.clone(), after.clone()), expected, "{before} to {after}");
        }
    }

    #[test]
    fn an_unknown_past_is_told_as_if_it_had_been_seen() {
        assert_eq!(decide(None, true), Some(Change::Updated));
        assert_eq!(decide(None, false), Some(Change::Removed));
    }

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let mut memory = Memory::default();
        let ids: Vec<_> = (0..=REMEMBERED).map(|_| ObjectId::new()).collect();
        for id in &ids {
            memory.note(*id, true);
        }
        memory.note(ids[1], false);
        assert_eq!(memory.recall(ids[0]), None);
        assert_eq!(memory.recall(ids[1]), Some(false));
        assert_eq!(memory.recall(ids[REMEMBERED]), Some(true));
        assert_eq!(memory.known.len(), REMEMBERED);
    }
}
