//! How do layers of this library run in another runtime?
//!
//! Writes a variant of the registry as an ONNX model, and its inputs and outputs in a second file.
//! `mgu` is the cell of `own_cell.rs`: one that this library does not know.
//!
//! ```text
//! cargo run --release --features onnx --example export -- \
//!     --variant lstm-peephole --bidirectional lstm.onnx
//! ```
//!
//! Prints, within a second:
//!
//! ```text
//! lstm.onnx: 2508 bytes
//! lstm.safetensors: 6 tensors
//! ```
//!
//! `tests/data/check_onnx.py` exports every variant and runs the models in onnxruntime.

#[allow(dead_code)] // its program
#[path = "own_cell.rs"]
mod own_cell;

use anyhow::{bail, Context, Result};
use candle_core::{safetensors, DType, Device, Tensor};
use candle_nn::VarMap;
use clap::Parser;
use recurrent::core::init;
use recurrent::{
    core::write_whole, onnx, registry, Carry, Direction, ForwardContext, GatedConfig, Layer,
    RnnConfig, Sequence, Stack,
};
use recurrent_tasks::usage::{nearest, ConfigError};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Writes layers as an ONNX model, and inputs and outputs as safetensors.
#[derive(Parser)]
struct Args {
    /// A variant of the registry, or `mgu`
    #[arg(long, default_value = "lstm")]
    variant: String,
    /// Run every layer in both directions
    #[arg(long)]
    bidirectional: bool,
    /// Features of the input
    #[arg(long, default_value_t = 3)]
    input: usize,
    /// Units of every layer, in each direction
    #[arg(long, default_value_t = 5)]
    hidden: usize,
    /// The model to write
    out: PathBuf,
}

fn main() -> ExitCode {
    sigpipe::reset(); // ends quietly if its output is cut off, as by `head`
    recurrent_cli::program(export)
}

/// The layers that the arguments name.
fn layers(args: &Args) -> Result<Box<dyn Layer>> {
    let (name, variants) = (&args.variant, registry::variants());
    let direction = if args.bidirectional { Direction::Bidirectional } else { Direction::Forward };
    let vb = init::seeded(&VarMap::new(), 1, DType::F32, &Device::Cpu);
    if name == "mgu" {
        let config = GatedConfig::new(own_cell::MinimalGatedUnit);
        let layers = Stack::new(args.input, args.hidden, 2, direction, &config, vb)?;
        return Ok(Box::new(layers));
    }
    let Some(entry) = variants.iter().find(|entry| entry.name == *name) else {
        let nearest = nearest(name, variants.iter().map(|entry| entry.name));
        let line = format!("variant {name}: no such variant; {nearest}`recurrent list` shows all");
        return Err(ConfigError::new(line).into());
    };
    let config = RnnConfig { direction, ..entry.spec.with_longest_lag(20) };
    Ok(config.build(args.input, args.hidden, vb)?)
}

fn export(args: Args) -> Result<ExitCode> {
    let layer = layers(&args)?;
    let model = onnx::export(&layer)?;
    write_whole(&args.out, &model).with_context(|| args.out.display().to_string())?;
    println!("{}: {} bytes", args.out.display(), model.len());

    // A run from some state, which the model has as (directions, batch, hidden).
    let wave = |shape: (usize, usize, usize), speed: f64| -> Result<Tensor> {
        let values =
            (0..shape.0 * shape.1 * shape.2).map(|i| (i as f64 * speed).sin() as f32).collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    };
    let xs = wave((2, 7, args.input), 0.7)?; // (batch, time, input)
    let (_, start) = layer.run(
        &Sequence::new(wave((2, 4, args.input), 0.9)?)?,
        None,
        &ForwardContext::default(),
    )?;
    let start = start.into_initial();
    let (ys, carry) =
        layer.run(&Sequence::new(xs.clone())?, Some(&start), &ForwardContext::default())?;
    let mut tensors = HashMap::from([("xs".to_string(), xs), ("ys".to_string(), ys.into_values())]);
    for (carry, side) in [(start, "0"), (carry, "n")] {
        let Carry::Layers(layers) = carry else { bail!("expected the carry of a stack") };
        for (index, layer) in layers.iter().enumerate() {
            let directions = layer.cells();
            for (at, (field, _)) in directions[0].iter().enumerate() {
                let parts: Vec<_> = directions.iter().map(|fields| &fields[at].1).collect();
                tensors.insert(format!("{field}{side}_l{index}"), Tensor::stack(&parts, 0)?);
            }
        }
    }
    let beside = args.out.with_extension("safetensors");
    safetensors::save(&tensors, &beside)?;
    println!("{}: {} tensors", beside.display(), tensors.len());
    Ok(ExitCode::SUCCESS)
}
