//! How many connections there are that stay open, and whose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use klio_entities::klass::Actor;
use uuid::Uuid;

/// All places of a gateway.
#[derive(Debug, Default)]
pub struct Places {
    open: AtomicUsize,
    of_actor: Mutex<HashMap<Uuid, usize>>,
}

/// A place among the connections; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    actor: Option<Uuid>,
}

impl Places {
    /// A place, unless there are `limit` already.
    pub fn enter(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let place = Place {
            places: self.clone(),
            actor: None,
        };
        // Counted first: two that come at once do not both take the last place.
        (self.open.fetch_add(1, Ordering::AcqRel) < limit).then_some(place)
    }

    /// How many are taken.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

impl Place {
    /// Says whose it is; `false`: they have `limit` already.
    pub fn belongs_to(&mut self, actor: &Actor, limit: usize) -> bool {
        let mut of_actor = self.places.of_actor.lock().unwrap_or_else(PoisonError::into_inner);
        let count = of_actor.entry(actor.id).or_default();
        if *count >= limit {
            return false;
        }
        *count += 1;
        self.actor = Some(actor.id);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.fetch_sub(1, Ordering::AcqRel);
        if let Some(actor) = self.actor {
            let mut of_actor = self.places.of_actor.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = of_actor.get_mut(&actor) {
                *count -= 1;
                if *count == 0 {
                    of_actor.remove(&actor);
                }
            }
        }
    }
}
