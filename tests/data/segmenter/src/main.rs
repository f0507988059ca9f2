//! The weights and the reference of `examples/segment.rs`: the LSTM of the crate icu_segmenter that
//! finds words in Thai text.
//!
//! ```text
//! cargo run --release -- weights FILE     writes the weights as safetensors
//! cargo run --release -- split            splits lines of the standard input, with | between words
//! ```

use anyhow::{bail, Context, Result};
use icu_provider::prelude::*;
use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::provider::{Baked, SegmenterLstmAutoV1};
use icu_segmenter::WordSegmenter;
use safetensors::tensor::{serialize_to_file, Dtype, TensorView};
use serde_json::Value;
use std::env;
use std::io::{stdin, stdout, BufRead, BufWriter, Write};
use std::path::Path;

fn main() -> Result<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["weights", path] => weights(Path::new(path)),
        ["split"] => split(),
        _ => bail!("expected `weights FILE` or `split`"),
    }
}

/// Writes the tensors under the crate's names, and `letters`, the code points by number.
fn weights(path: &Path) -> Result<()> {
    let thai = DataMarkerAttributes::from_str_or_panic("Thai_codepoints_exclusive_model4_heavy");
    let id = DataIdentifierBorrowed::for_marker_attributes(thai);
    let response: DataResponse<SegmenterLstmAutoV1> =
        Baked.load(DataRequest { id, ..DataRequest::default() })?;
    let model = serde_json::to_value(response.payload.get())?;
    let fields = model.get("Float32").and_then(Value::as_object).context("expected Float32")?;

    let letters = fields["dic"].as_object().context("expected a map of letters")?;
    let mut points = vec![0u32; letters.len()];
    for (letter, number) in letters {
        points[number.as_u64().context("number of a letter")? as usize] =
            letter.chars().next().context("a letter")? as u32;
    }
    let bytes: Vec<u8> = points.iter().flat_map(|point| point.to_le_bytes()).collect();
    let mut tensors = vec![("letters".to_string(), Dtype::U32, vec![points.len()], bytes)];
    for (name, field) in fields {
        let Some(dims) = field.get("dims").and_then(Value::as_array) else { continue };
        let dims =
            dims.iter().map(|dim| dim.as_u64().map(|dim| dim as usize)).collect::<Option<_>>();
        let data = field["data"].as_array().context("expected numbers")?;
        let value = |x: &Value| (x.as_f64().expect("a number") as f32).to_le_bytes();
        let bytes: Vec<u8> = data.iter().flat_map(value).collect();
        tensors.push((name.clone(), Dtype::F32, dims.context("expected sizes")?, bytes));
    }
    let mut views = Vec::new();
    for (name, dtype, dims, bytes) in &tensors {
        println!("{name} {dims:?}");
        views.push((name, TensorView::new(*dtype, dims.clone(), bytes)?));
    }
    Ok(serialize_to_file(views, None, path)?)
}

fn split() -> Result<()> {
    let segmenter = WordSegmenter::new_lstm(WordBreakInvariantOptions::default());
    let mut out = BufWriter::new(stdout().lock());
    for line in stdin().lock().lines() {
        let line = line?;
        let ends: Vec<_> = segmenter.segment_str(&line).collect();
        let words: Vec<_> = ends.windows(2).map(|pair| &line[pair[0]..pair[1]]).collect();
        writeln!(out, "{}", words.join("|"))?;
    }
    Ok(out.flush()?)
}
