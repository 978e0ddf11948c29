//! Seeded randomness. The only source of chance in the pure crates.
//!
//! The draws are written out here, not taken from a distribution crate, so that a seed keeps its meaning when a
//! dependency changes its sampling.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// One ChaCha8 stream of a seed. Streams of one seed are independent of each other.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// Stream number `stream` of `seed`.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// Any 64-bit number.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound` (Lemire's method, without bias).
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a draw needs at least one outcome");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.u64()) * u128::from(bound);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "empty range {low}..={high}");
        match (high - low).checked_add(1) {
            Some(width) => low + self.below(width),
            None => self.u64(),
        }
    }

    /// True with probability `numerator / denominator`.
    pub fn ratio(&mut self, numerator: u64, denominator: u64) -> bool {
        numerator > 0 && self.below(denominator) < numerator
    }

    /// One of `items`, or none when there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        (!items.is_empty()).then(|| &items[self.below(items.len() as u64) as usize])
    }

    /// Shuffles `items` (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let other = self.below(end as u64 + 1) as usize;
            items.swap(end, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a seed stands for in a regression, or in somebody's report, it stands for in every version.
    #[test]
    fn a_seed_keeps_its_meaning() {
        let mut rng = Rng::new(7, 3);
        assert_eq!([rng.u64(), rng.u64()], [3_348_856_302_973_006_449, 1_713_045_363_199_913_294]);
        assert_eq!([6, 6, 6, 1_000].map(|bound| rng.below(bound)), [5, 2, 2, 384]);
        // Every fourth draw has to be drawn again, so that none is likelier than another.
        assert_eq!([3 << 62; 8].map(|bound| rng.below(bound) >> 56), [63, 180, 71, 168, 22, 7, 123, 130]);
        assert_eq!([(10, 15), (10, 15), (10, 10)].map(|(low, high)| rng.between(low, high)), [14, 15, 10]);
        assert_eq!([1; 6].map(|numerator| rng.ratio(numerator, 2)), [true, true, true, false, false, false]);
        let mut items = [1, 2, 3, 4, 5, 6];
        rng.shuffle(&mut items);
        assert_eq!((items, rng.pick(&items)), ([6, 1, 4, 2, 5, 3], Some(&2)));
    }

    #[test]
    fn streams_and_seeds_are_independent() {
        let first = |seed, stream| Rng::new(seed, stream).u64();
        assert_eq!(first(7, 3), first(7, 3));
        assert!(first(7, 3) != first(7, 4) && first(7, 3) != first(8, 3));
    }

    /// How often each of the outcomes below `count` comes in a thousand draws for each.
    fn counts(count: usize, mut draw: impl FnMut(&mut Rng) -> u64) -> Vec<u32> {
        let (mut rng, mut counts) = (Rng::new(1, 1), vec![0; count]);
        for _ in 0..1_000 * count {
            counts[draw(&mut rng) as usize] += 1;
        }
        counts
    }

    #[test]
    fn every_outcome_is_as_likely_as_another() {
        let even = |counts: Vec<u32>| counts.iter().all(|count| (880..1_120).contains(count));
        assert!(even(counts(5, |rng| rng.below(5))));
        assert!(even(counts(5, |rng| rng.between(10, 14) - 10)));
        assert!(even(counts(5, |rng| rng.pick(&[0, 1, 2, 3, 4]).copied().unwrap_or(9))));
        assert!(even(counts(4, |rng| u64::from(rng.ratio(3, 4)) * (1 + rng.below(3)))));
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let order = |rng: &mut Rng| {
            let mut items = [0, 1, 2];
            rng.shuffle(&mut items);
            orders.iter().position(|order| *order == items).unwrap_or(9) as u64
        };
        assert!(even(counts(6, order)));
    }

    #[test]
    fn a_draw_keeps_to_its_bounds() {
        let mut rng = Rng::new(1, 1);
        for _ in 0..100 {
            assert_eq!((rng.below(1), rng.between(9, 9)), (0, 9));
            assert!(!rng.ratio(0, 3) && rng.ratio(3, 3));
            assert_eq!(rng.pick::<u8>(&[]), None);
        }
        assert_ne!(rng.between(0, u64::MAX), rng.between(0, u64::MAX));
        let mut other = rng.clone();
        assert!(!rng.ratio(0, 3));
        assert_eq!(rng.u64(), other.u64(), "what cannot be is not drawn");
        rng.shuffle::<u8>(&mut []);
    }
}
