//! Who works on every event: the list. A listener is a file in `subscriptions`, and a line here.

use std::sync::Arc;

use klio_entities::store::Store;
use klio_subscriptions::listen::Listener;

/// All of them.
pub fn all(_store: &Store) -> Vec<Arc<dyn Listener>> {
    Vec::new()
}
