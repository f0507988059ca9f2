//! An n-gram model, the reference of the character-level language model.

use std::collections::HashMap;

/// The highest order: five symbols of context and the predicted one.
const LONGEST: usize = 6;

/// Interpolated n-grams of all orders up to [`LONGEST`], by Witten and Bell 1991 (method C, in the
/// notation of Chen and Goodman 1999):
///
/// ```text
/// p_n(c | context) = (count(context c) + t(context) p_{n-1}(c | shorter context))
///                    / (count(context) + t(context))
/// ```
///
/// t(context) is the number of different symbols that follow the context. The shorter context lacks
/// the first symbol. p_0 is uniform. An unseen context takes the probability of the shorter one.
pub(super) struct Ngrams {
    symbols: usize,
    /// At index n - 1, the number of occurrences of each n-gram.
    grams: Vec<HashMap<u128, u32>>,
    /// At index n - 1, the number of occurrences of each context and of different symbols after it.
    contexts: Vec<HashMap<u128, (u32, u32)>>,
}

impl Ngrams {
    /// Counts the n-grams of a text over the symbols 0 to `symbols` - 1, at most 2^21 of them.
    pub(super) fn new(text: &[u32], symbols: usize) -> Self {
        let mut ngrams = Self {
            symbols,
            grams: vec![HashMap::new(); LONGEST],
            contexts: vec![HashMap::new(); LONGEST],
        };
        for end in 0..text.len() {
            for order in 1..=LONGEST.min(end + 1) {
                let gram = &text[end + 1 - order..=end];
                let count = ngrams.grams[order - 1].entry(key(gram)).or_insert(0);
                *count += 1;
                let first = *count == 1;
                let context =
                    ngrams.contexts[order - 1].entry(key(&gram[..order - 1])).or_insert((0, 0));
                context.0 += 1;
                context.1 += u32::from(first);
            }
        }
        ngrams
    }

    /// The mean of -log2 p of the symbols of `text` at `places`, by order from 1. Each symbol is
    /// predicted from those before it.
    pub(super) fn bits(&self, text: &[u32], places: impl Iterator<Item = usize>) -> [f64; LONGEST] {
        let (mut bits, mut count) = ([0.0; LONGEST], 0usize);
        for place in places {
            let mut p = 1.0 / self.symbols as f64;
            for (index, bits) in bits.iter_mut().enumerate() {
                if index <= place {
                    p = self.probability(&text[place - index..=place], p);
                }
                *bits -= p.log2();
            }
            count += 1;
        }
        bits.map(|bits| bits / count.max(1) as f64)
    }

    /// The probability of the last symbol of a gram; `shorter` is that of the next lower order.
    fn probability(&self, gram: &[u32], shorter: f64) -> f64 {
        let order = gram.len();
        let Some(&(count, types)) = self.contexts[order - 1].get(&key(&gram[..order - 1])) else {
            return shorter;
        };
        let seen = self.grams[order - 1].get(&key(gram)).copied().unwrap_or(0);
        (f64::from(seen) + f64::from(types) * shorter) / (f64::from(count) + f64::from(types))
    }
}

/// A gram as a number: up to six symbols of 21 bits.
fn key(gram: &[u32]) -> u128 {
    gram.iter().fold(0, |key, &symbol| key << 21 | u128::from(symbol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_formula() {
        let ngrams = Ngrams::new(&[0, 1, 0, 1, 0, 2], 4);
        let p1 = |symbol: u32| ngrams.probability(&[symbol], 0.25);
        assert_eq!(p1(0), (3.0 + 3.0 * 0.25) / 9.0);
        assert_eq!(p1(3), 3.0 * 0.25 / 9.0, "unseen");
        assert_eq!(ngrams.probability(&[0, 1], p1(1)), (2.0 + 2.0 * p1(1)) / 5.0);
        assert_eq!(ngrams.probability(&[3, 1], p1(1)), p1(1), "the context is unseen");
    }

    #[test]
    fn probabilities_sum_to_one_at_every_order() {
        let text = [0, 1, 2, 0, 1, 0, 0, 2, 1, 0, 1, 2, 0, 1];
        let ngrams = Ngrams::new(&text, 4);
        for order in 1..=LONGEST {
            let all: f64 = (0..4)
                .map(|symbol| {
                    let ended = [&text[3..10], &[symbol]].concat();
                    2f64.powf(-ngrams.bits(&ended, std::iter::once(7))[order - 1])
                })
                .sum();
            assert!((all - 1.0).abs() < 1e-12, "{order}: {all}");
        }
    }

    #[test]
    fn repeated_text_is_predicted_from_its_context() {
        let text: Vec<u32> = (0..600).map(|place| place % 3).collect();
        let bits = Ngrams::new(&text, 3).bits(&text, 100..600);
        assert!((bits[0] - 3f64.log2()).abs() < 1e-2, "{bits:?}");
        assert!(bits[1..].iter().all(|&bits| bits < 0.01), "{bits:?}");
    }
}
