//! Percentiles and medians.

/// Values in ascending order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that at least this share of all values does not exceed (nearest rank). No value is made up, and
    /// none is left out: p99 of ten values is the largest.
    ///
    /// # Panics
    /// Without any value.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        assert!(!self.0.is_empty(), "a percentile of nothing");
        // Shares such as 99.9 % of 1000 are whole numbers that floating point misses by a hair.
        let rank = (percent / 100.0 * self.0.len() as f64 - 1e-9).ceil();
        self.0[(rank as usize).clamp(1, self.0.len()) - 1]
    }

    /// The middle value, or the mean of the two in the middle.
    ///
    /// # Panics
    /// Without any value.
    pub(crate) fn median(&self) -> f64 {
        let (upper, odd) = (self.0.len() / 2, self.0.len() % 2 == 1);
        if odd { self.0[upper] } else { f64::midpoint(self.0[upper - 1], self.0[upper]) }
    }

    /// Smallest and largest.
    ///
    /// # Panics
    /// Without any value.
    pub(crate) fn range(&self) -> (f64, f64) {
        (self.0[0], self.0[self.0.len() - 1])
    }

    /// How many events a second there were in the middle four fifths, when the values are their times in seconds: beginning
    /// and end of a run, where not everybody is at work, do not count.
    ///
    /// # Panics
    /// With fewer than ten values.
    pub(crate) fn rate_of_the_middle(&self) -> f64 {
        assert!(self.0.len() >= 10, "too few to have a middle");
        let (from, to) = (self.0.len() / 10, self.0.len() - 1 - self.0.len() / 10);
        (to - from) as f64 / (self.0[to] - self.0[from])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(last: u32) -> Sorted {
        Sorted::new((1..=last).rev().map(f64::from).collect())
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        // Known answers of the nearest-rank method.
        let few = Sorted::new(vec![50.0, 15.0, 40.0, 20.0, 35.0]);
        let found = [5.0, 30.0, 40.0, 50.0, 100.0].map(|percent| few.percentile(percent));
        assert_eq!(found, [15.0, 20.0, 20.0, 35.0, 50.0]);
        assert_eq!([50.0, 99.0, 99.9].map(|percent| up_to(1_000).percentile(percent)), [500.0, 990.0, 999.0]);
        assert_eq!([50.0, 99.0, 100.0].map(|percent| up_to(10).percentile(percent)), [5.0, 10.0, 10.0]);
        assert_eq!(up_to(1).percentile(0.0), 1.0);
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(Sorted::new(vec![3.0, 1.0, 100.0]).median(), 3.0);
        assert_eq!(Sorted::new(vec![4.0, 1.0, 2.0, 100.0]).median(), 3.0);
        assert_eq!(Sorted::new(vec![7.0]).median(), 7.0);
    }

    #[test]
    fn the_range_is_smallest_and_largest() {
        assert_eq!(Sorted::new(vec![3.0, 1.0, 100.0]).range(), (1.0, 100.0));
    }

    #[test]
    fn slow_beginnings_and_ends_do_not_count() {
        // Four a second, but for the first and last tenth, which take a minute each.
        let steady = (0..80).map(|n| 60.0 + f64::from(n) * 0.25);
        let slow = (0..10).map(|n| f64::from(n) * 6.0);
        let last = (0..10).map(|n| 90.0 + f64::from(n) * 6.0);
        assert_eq!(Sorted::new(slow.chain(steady).chain(last).collect()).rate_of_the_middle(), 4.0);
    }
}
