//! The trained network of g2p-en in `examples/pronounce`, if its file is given:
//!
//! ```text
//! RECURRENT_G2P=g2p_en/checkpoint20.npz cargo test --release --test tests pronounce
//! ```

#[path = "../examples/pronounce/speller.rs"]
mod speller;

use speller::Speller;
use std::env;
use std::path::Path;

/// Phonemes from the package's own `G2p.predict`; `tests/data/check_pronounce.py` compares whole
/// lists.
const WORDS: [(&str, &str); 8] = [
    ("recurrent", "R IH0 K ER1 AH0 N T"),
    ("vanishing", "V AE1 N IH0 SH IH0 NG"),
    ("gradient", "G R EY1 D IY0 AH0 N T"),
    ("candle", "K AE1 N D AH0 L"),
    ("rhythm", "R IH1 DH AH0 M"),
    ("o'clock", "OW1 K L AA2 K"),
    ("incomprehensibilities", "IH0 NG K AA2 M P R AH0 CH EH1 N AH0 S T R IY0 AH0 S"),
    ("a", "AA1"),
];

#[test]
fn words_are_spelled_as_by_the_package() -> candle_core::Result<()> {
    let Some(path) = env::var_os("RECURRENT_G2P") else {
        println!(
            "words_are_spelled_as_by_the_package: NOT RUN, RECURRENT_G2P does not name \
             checkpoint20.npz of g2p-en 2.1.0"
        );
        return Ok(());
    };
    let speller = Speller::load(Path::new(&path))?;
    for (word, phonemes) in WORDS {
        assert_eq!(speller.spell(word)?.join(" "), phonemes, "{word}");
    }
    Ok(())
}

#[test]
fn a_missing_file_is_an_error() {
    assert!(Speller::load(Path::new("no/such/file.npz")).is_err());
}
