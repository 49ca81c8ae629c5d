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

/// Tenths of points: a part of its own, parts that come so many times, and parts of which only one comes.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Once.
    pub own: u64,
    /// So many times each.
    pub times: Vec<(Count, Cost)>,
    /// One of these.
    pub one_of: Vec<Cost>,
}

impl Cost {
    /// Only a part of its own.
    pub fn of(own: u64) -> Self {
        Self { own, ..Self::default() }
    }

    /// One of these, and it is not known which.
    pub fn dearest(one_of: Vec<Cost>) -> Self {
        Self { one_of, ..Self::default() }
    }

    /// Adds another.
    pub fn add(&mut self, other: Cost) {
        if !other.one_of.is_empty() {
            // Its choice is not ours.
            self.times.push((Count::Known(1), other));
            return;
        }
        self.own = self.own.saturating_add(other.own);
        self.times.extend(other.times);
    }

    /// Tenths of points, given the numbers of this run.
    pub fn tenths(&self, number: &impl Fn(usize) -> u64) -> u64 {
        let dearest = self.one_of.iter().map(|cost| cost.tenths(number)).max().unwrap_or(0);
        self.times.iter().fold(self.own.saturating_add(dearest), |sum, (count, cost)| {
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
                    one_of: Vec::new(),
                },
            )],
            one_of: Vec::new(),
        };
        assert_eq!(cost.tenths(&|_| 3), 5 + 20 * (10 + 3 * 10));
        let mut either = Cost::dearest(vec![Cost::of(3), cost.clone(), Cost::of(7)]);
        either.add(Cost::dearest(vec![Cost::of(1), Cost::of(2)]));
        either.add(Cost::of(4));
        assert_eq!(either.tenths(&|_| 3), 5 + 20 * (10 + 3 * 10) + 2 + 4);
        let mut endless = Cost::of(u64::MAX);
        endless.add(cost);
        assert_eq!(endless.tenths(&|_| u64::MAX), u64::MAX);
    }
}
