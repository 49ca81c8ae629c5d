//! What an operation costs, in points: about one for each object that may be read, more for what the database has to search for.

use super::shape::Count;

/// A row.
pub const ROW: u64 = 10;
/// A value of a row.
pub const VALUE: u64 = 1;
/// A page, whatever is in it.
pub const PAGE: u64 = 10;
/// A total, or an aggregate: everything that matches is visited.
pub const SWEEP: u64 = 100;
/// A filter or an order that no index helps.
pub const UNINDEXED: u64 = 200;
/// A statement of its own.
pub const STATEMENT: u64 = 20;
/// A mutation.
pub const WRITE: u64 = 100;

/// Tenths of points: a part of its own, and parts that come so many times.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Once.
    pub own: u64,
    /// So many times each.
    pub times: Vec<(Count, Cost)>,
}

impl Cost {
    /// Only a part of its own.
    pub fn of(own: u64) -> Self {
        Self { own, times: Vec::new() }
    }

    /// Adds another.
    pub fn add(&mut self, other: Cost) {
        self.own = self.own.saturating_add(other.own);
        self.times.extend(other.times);
    }

    /// Tenths of points, given the numbers of this run.
    pub fn tenths(&self, number: &impl Fn(usize) -> u64) -> u64 {
        self.times.iter().fold(self.own, |sum, (count, cost)| {
            let count = match count {
                Count::Known(n) => u64::from(*n),
                Count::Arg(index) => number(*index),
            };
            sum.saturating_add(count.saturating_mul(cost.tenths(number)))
        })
    }
}

/// Points out of tenths, rounded up.
pub fn points(tenths: u64) -> u64 {
    tenths.div_ceil(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_pages_multiply() {
        let cost = Cost {
            own: 5,
            times: vec![(
                Count::Known(20),
                Cost {
                    own: 10,
                    times: vec![(Count::Arg(1), Cost::of(10))],
                },
            )],
        };
        assert_eq!(cost.tenths(&|_| 3), 5 + 20 * (10 + 3 * 10));
        let mut endless = Cost::of(u64::MAX);
        endless.add(cost);
        assert_eq!(endless.tenths(&|_| u64::MAX), u64::MAX);
    }
}
