//! Random numbers that depend on a seed and a name only.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator of `name` under `seed`. Generators of different names are independent of each
/// other.
///
/// ChaCha with 8 rounds, whose values are the same on every platform, keyed by both (FNV-1a over
/// the name, then SplitMix64).
pub fn named_rng(seed: u64, name: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(name_key(seed, name))
}

/// A hash of `seed` and `name` (FNV-1a over the name, then SplitMix64).
pub(crate) fn name_key(seed: u64, name: &str) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let name = name.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    mix(mix(seed).wrapping_add(name))
}

/// SplitMix64's output function (Steele, Lea and Flood 2014).
#[inline(always)]
pub(crate) fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore;

    #[test]
    fn a_generator_depends_on_seed_and_name() {
        let draw = |seed, name| named_rng(seed, name).next_u64();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_eq!(
            draw(0, "weight_ih_l0"),
            11_562_707_615_626_441_165,
            "never changes: saved runs depend on it"
        );
    }
}
