//! A hash of the state that is the same on every machine and in every build, kept up to date object by object.
//!
//! The state's hash is the wrapping sum of its objects' hashes, so a change costs one object, not the whole state.
//! It finds differences between replicas that should be equal; it does not resist an adversary.

use std::hash::{Hash, Hasher};

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Mixes integers in little-endian order, whatever the machine.
#[derive(Clone, Debug)]
pub struct StableHasher(u64);

impl Default for StableHasher {
    fn default() -> Self {
        Self(0x243F_6A88_85A3_08D3)
    }
}

impl StableHasher {
    fn mix(&mut self, word: u64) {
        let wide = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        self.0 = (wide as u64).rotate_left(23) ^ (wide >> 64) as u64 ^ word.rotate_left(32);
    }
}

impl Hasher for StableHasher {
    fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(MULTIPLIER);
        hash ^ (hash >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        let rest = chunks.remainder();
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(word) ^ ((rest.len() as u64 + 1) << 56));
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    fn write_u16(&mut self, number: u16) {
        self.mix(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.mix(number as u64);
    }
}

/// The hash of one value.
pub fn hash_of<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = StableHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_fixed_for_all_time() {
        assert_eq!(hash_of(&(1u64, "abc", Some(7u32))), 2_456_650_087_677_785_388);
        assert_ne!(hash_of("ab\0"), hash_of("ab"));
        assert_ne!(hash_of(&(1u64, 2u64)), hash_of(&(2u64, 1u64)));
    }

    /// Replicas of all versions and machines compare these.
    #[test]
    fn every_kind_of_part_counts() {
        assert_eq!(hash_of(&(1u8, 2u16, 3usize, -4isize)), 9_440_530_191_515_234_254);
        assert_eq!(hash_of("more than eight bytes, and a rest"), 13_560_221_547_643_052_144);
        assert_eq!(hash_of(&(7u64, u64::MAX, 1u64 << 63)), 14_017_877_112_678_672_103);
        for (one, other) in [(hash_of(&1u8), hash_of(&2u8)), (hash_of(&1u16), hash_of(&2u16))] {
            assert_ne!(one, other);
        }
        for len in 0..24 {
            let zeros = |len: usize| hash_of(&"\0".repeat(len));
            assert_ne!(zeros(len), zeros(len + 1));
        }
    }
}
