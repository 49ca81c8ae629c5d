//! A leaky bucket of points for each actor, in memory: who spends faster than points come back is told to wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use klio_entities::klass::Actor;
use quick_cache::sync::Cache;
use uuid::Uuid;

/// The buckets of all actors; those that were not used for long are forgotten, which fills them.
pub struct Buckets {
    size: f64,
    refill: f64,
    by_actor: Cache<(Uuid, Uuid), Arc<Mutex<Bucket>>>,
}

#[derive(Debug)]
struct Bucket {
    points: f64,
    at: Instant,
}

/// There are not enough points: in how many seconds there will be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Empty {
    /// Seconds to wait.
    pub retry_after: f64,
    /// Points that are left.
    pub remaining: u64,
}

impl Buckets {
    /// Buckets of this size, into which so many points come back each second.
    pub fn new(size: u64, refill: u64) -> Self {
        Self {
            size: size as f64,
            refill: (refill as f64).max(0.001),
            by_actor: Cache::new(65_536),
        }
    }

    /// Takes points out of an actor's bucket; answers what is left. More than the bucket holds is let through when it is full.
    pub fn take(&self, actor: &Actor, points: u64) -> Result<u64, Empty> {
        self.take_at(actor, points, Instant::now())
    }

    fn take_at(&self, actor: &Actor, points: u64, now: Instant) -> Result<u64, Empty> {
        let bucket = self.bucket(actor, now);
        // Numbers only: what another thread left behind when it panicked is whole.
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.points = (bucket.points + passed * self.refill).min(self.size);
        bucket.at = now;
        let needed = (points as f64).min(self.size);
        if bucket.points < needed {
            return Err(Empty {
                retry_after: (needed - bucket.points) / self.refill,
                remaining: bucket.points as u64,
            });
        }
        bucket.points -= points as f64;
        Ok(bucket.points.max(0.0) as u64)
    }

    /// Gives back points that were taken and not used; answers what is left.
    pub fn give_back(&self, actor: &Actor, points: u64) -> u64 {
        let bucket = self.bucket(actor, Instant::now());
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.points = (bucket.points + points as f64).min(self.size);
        bucket.points.max(0.0) as u64
    }

    fn bucket(&self, actor: &Actor, now: Instant) -> Arc<Mutex<Bucket>> {
        let full = || {
            Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(Bucket {
                points: self.size,
                at: now,
            })))
        };
        match self.by_actor.get_or_insert_with(&(actor.org.0, actor.id), full) {
            Ok(bucket) => bucket,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use klio_entities::klass::OrgId;

    use super::*;

    #[test]
    fn who_spends_too_fast_waits() {
        let buckets = Buckets::new(100, 10);
        let actor = Actor::system(OrgId(Uuid::nil()));
        let start = Instant::now();
        assert_eq!(buckets.take_at(&actor, 80, start), Ok(20));
        assert_eq!(
            buckets.take_at(&actor, 40, start),
            Err(Empty {
                retry_after: 2.0,
                remaining: 20
            })
        );
        assert_eq!(buckets.take_at(&actor, 40, start + Duration::from_secs(2)), Ok(0));
        assert_eq!(buckets.give_back(&actor, 15), 15);
        // What is larger than the bucket passes when it is full, and takes longer to come back.
        let later = start + Duration::from_secs(60);
        assert_eq!(buckets.take_at(&actor, 150, later), Ok(0));
        assert!(buckets.take_at(&actor, 10, later + Duration::from_secs(5)).is_err());
        let other = Actor {
            id: Uuid::from_u128(1),
            ..actor
        };
        assert_eq!(buckets.take_at(&other, 1, start), Ok(99));
    }
}
