//! How does a network that was trained elsewhere run here?
//!
//! A GRU encoder reads the letters of an English word, a GRU decoder writes its phonemes. The
//! weights are those of the Python package g2p-en 2.1.0 (Apache-2.0), which runs them in NumPy:
//!
//! ```text
//! pip download --no-deps g2p-en==2.1.0 && unzip g2p_en-2.1.0-py3-none-any.whl 'g2p_en/*'
//! cargo run --release --example pronounce -- --weights g2p_en/checkpoint20.npz \
//!     recurrent vanishing gradient
//! ```
//!
//! Prints, within a second:
//!
//! ```text
//! recurrent  R IH0 K ER1 AH0 N T
//! vanishing  V AE1 N IH0 SH IH0 NG
//! gradient  G R EY1 D IY0 AH0 N T
//! ```
//!
//! `tests/data/check_pronounce.py` compares whole word lists with the package's own code.

mod speller;

use anyhow::{Context, Result};
use clap::Parser;
use speller::Speller;
use std::fs;
use std::io::{stdout, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Spells English words in phonemes (ARPAbet, with stress).
#[derive(Parser)]
struct Args {
    /// checkpoint20.npz of the Python package g2p-en
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// A file of more words, one a line
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Words
    words: Vec<String>,
}

fn main() -> ExitCode {
    sigpipe::reset(); // ends quietly if its output is cut off, as by `head`
    recurrent_cli::program(pronounce)
}

fn pronounce(args: Args) -> Result<ExitCode> {
    let speller = Speller::load(&args.weights)?;
    let list = match &args.list {
        Some(path) => {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => String::new(),
    };
    let mut out = BufWriter::new(stdout().lock());
    for word in args.words.iter().map(String::as_str).chain(list.lines()) {
        writeln!(out, "{word}  {}", speller.spell(word)?.join(" "))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
