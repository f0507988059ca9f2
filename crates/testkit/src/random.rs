//! Random cases.

use proptest::test_runner::{Config, RngSeed};

/// The configuration of a property test with this number of cases, the same in every run, so that
/// no test fails by chance. The variables `PROPTEST_CASES` and `PROPTEST_RNG_SEED` select others.
pub fn cases(count: u32) -> Config {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = count;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}
