//! Demand and refusals over time.

use smallvec::SmallVec;

/// As many points as a plot shows; more are taken together, two by two.
const MOST_BUCKETS: usize = 480;

/// What happened in equal spans of time, which become longer while the log goes on.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// The beginning of the first bucket, in milliseconds since 1970.
    pub(crate) start: Option<i64>,
    pub(crate) width: i64,
    pub(crate) buckets: Vec<Bucket>,
}

/// A span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    /// The largest demand of a key, in units, in the window of each quota.
    pub(crate) peaks: SmallVec<[u64; 2]>,
}

impl Default for Series {
    fn default() -> Self {
        Self { start: None, width: 1000, buckets: Vec::new() }
    }
}

impl Series {
    /// Returns the bucket of this moment, which is not before that of the moments before.
    #[inline]
    pub(crate) fn at(&mut self, now: i64, quotas: usize) -> &mut Bucket {
        let start = *self.start.get_or_insert_with(|| now.div_euclid(1000) * 1000);
        let mut at = (now - start) / self.width;
        while at >= MOST_BUCKETS as i64 {
            self.halve();
            at = (now - start) / self.width;
        }
        let at = usize::try_from(at).unwrap_or_default();
        if at >= self.buckets.len() {
            self.buckets.resize_with(at + 1, || Bucket { peaks: SmallVec::from_elem(0, quotas), ..Bucket::default() });
        }
        &mut self.buckets[at]
    }

    #[cold]
    fn halve(&mut self) {
        self.width *= 2;
        self.buckets =
            self.buckets.chunks(2).map(|pair| pair.iter().skip(1).fold(pair[0].clone(), Bucket::joined)).collect();
    }
}

impl Bucket {
    fn joined(mut self, other: &Self) -> Self {
        self.requests += other.requests;
        self.refused += other.refused;
        self.peaks.iter_mut().zip(&other.peaks).for_each(|(peak, other)| *peak = (*peak).max(*other));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_become_longer_and_lose_nothing() {
        let mut series = Series::default();
        for second in 0..10_000 {
            let bucket = series.at(second * 1000 + 7, 1);
            bucket.requests += 1;
            bucket.peaks[0] = bucket.peaks[0].max(second.unsigned_abs());
        }
        assert_eq!((series.start, series.width), (Some(0), 32_000));
        assert!(series.buckets.len() <= MOST_BUCKETS);
        assert_eq!(series.buckets.iter().map(|bucket| bucket.requests).sum::<u64>(), 10_000);
        assert_eq!(series.buckets.last().unwrap().peaks[0], 9_999);
    }

    #[test]
    fn a_long_silence_is_a_row_of_empty_buckets() {
        let mut series = Series::default();
        series.at(5_500, 2).refused += 1;
        series.at(5_500 + 86_400_000, 2).refused += 1;
        assert_eq!(series.start, Some(5_000));
        assert_eq!(series.buckets.iter().map(|bucket| bucket.refused).sum::<u64>(), 2);
    }
}
