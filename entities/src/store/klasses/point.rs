//! Places in a change at which a test may end the process. Nothing in a release build.

use crate::store::{Store, point};

/// Their names, in the order in which a change comes by them; the last is passed only by one that cannot be made.
pub const POINTS: [&str; 11] = [
    "planned",
    "running",
    "expand",
    "work",
    "index",
    "switch",
    "switched",
    "after",
    "contract",
    "contracted",
    "undo",
];

#[cfg(test)]
#[derive(Default)]
pub(crate) struct Points {
    /// Every place that was passed.
    pub passed: std::sync::Mutex<Vec<&'static str>>,
    /// After how many places the change stops for good, as if the process had ended there.
    pub stop_after: std::sync::atomic::AtomicUsize,
    /// Told when it has stopped.
    pub stopped: tokio::sync::Notify,
    /// Ends it.
    task: std::sync::Mutex<Option<tokio::task::AbortHandle>>,
}

#[cfg(test)]
impl Points {
    pub(super) fn keep(&self, task: tokio::task::AbortHandle) {
        *self.task.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(task);
    }

    /// What the end of the process would do to a change that has stopped.
    pub fn end(&self) {
        let task = self.task.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        task.expect("a change under way").abort();
    }
}

impl Store {
    /// A place in a change: see [`point`].
    #[cfg_attr(not(debug_assertions), allow(clippy::unused_async))]
    pub(super) async fn point(&self, name: &'static str) {
        debug_assert!(POINTS.contains(&name), "{name} is not among POINTS");
        point::pass(name);
        #[cfg(test)]
        {
            let points = &self.0.points;
            let passed = {
                let mut all = points.passed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                all.push(name);
                all.len()
            };
            if passed == points.stop_after.load(std::sync::atomic::Ordering::SeqCst) {
                points.stopped.notify_one();
                std::future::pending::<()>().await;
            }
        }
        let _ = name;
    }
}
