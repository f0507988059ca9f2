//! Snapshots for inference: the same numbers as the layer's, a step and a chunk at a time, from its carry, on several threads, and
//! without allocations.

use candle::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use peak_alloc::PeakAlloc;
use recurrent::registry::variants;
use recurrent::{Carry, Frozen, Layer, Pass, Sequence};
use std::sync::{Arc, Mutex, PoisonError};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Tests of this file run one after the other: what one allocates, another would count.
static ALONE: Mutex<()> = Mutex::new(());

const BATCH: usize = 3;
const STEPS: usize = 9;

fn layer(name: &str) -> Result<Box<dyn Layer>> {
    let entry = variants().into_iter().find(|entry| entry.name == name).expect("a variant of the registry");
    let vars = VarMap::new();
    entry.spec.suited(20, 1).build(4, 10, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))
}

/// Inputs by step, and the layer's own outputs by step with the carry after them.
fn expected(layer: &dyn Layer) -> Result<(Vec<f32>, Vec<f32>, Carry)> {
    let wave: Vec<_> = (0..STEPS * BATCH * 4).map(|i| (i as f32 * 0.7).sin()).collect();
    let xs = Tensor::from_vec(wave, (STEPS, BATCH, 4), &Device::Cpu)?;
    let by_example = Sequence::new(xs.transpose(0, 1)?.contiguous()?)?;
    let (ys, carry) = layer.run(&by_example, None, &Pass::default())?;
    let ys = ys.values().transpose(0, 1)?.contiguous()?;
    Ok((xs.flatten_all()?.to_vec1()?, ys.flatten_all()?.to_vec1()?, carry))
}

fn close(found: &[f32], expected: &[f32], what: &str) {
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(found.len() == expected.len() && error <= 1e-6, "{what}: off by {error}");
}

#[test]
fn every_variant_streams_as_the_layer_runs_or_says_why_not() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut refused = Vec::new();
    for entry in variants() {
        let layer = layer(entry.name)?;
        let Ok(frozen) = layer.freeze() else {
            refused.push(entry.name);
            continue;
        };
        let (xs, ys, carry) = expected(layer.as_ref())?;
        let (input, output) = (BATCH * 4, ys.len() / STEPS);
        let mut stream = frozen.clone().start(BATCH);
        assert_eq!(stream.sizes(), (input, output), "{}", entry.name);
        let mut found = vec![0.0; ys.len()];
        stream.run(&xs[..2 * input], &mut found[..2 * output])?;
        let half = stream.carry()?;
        let mut other = frozen.start(BATCH);
        other.set_carry(&half)?;
        for t in 2..STEPS {
            other.step(&xs[t * input..][..input], &mut found[t * output..][..output])?;
        }
        close(&found, &ys, entry.name);
        let flat = |carry: &Carry| -> Result<Vec<f32>> {
            let Carry::Fields(fields) = carry else { return Ok(Vec::new()) };
            Ok(fields
                .iter()
                .map(|(_, field)| field.flatten_all()?.to_vec1::<f32>())
                .collect::<Result<Vec<_>>>()?
                .concat())
        };
        close(&flat(&other.carry()?)?, &flat(&carry)?, entry.name);
    }
    let without = [
        "highway-lstm",
        "kim-residual-lstm",
        "layernorm-lstm-burn",
        "layernorm-lstm-per-gate",
        "layernorm-lstm-pytorch",
        "layernorm-lstm-tfa",
        "layernorm-vanilla",
        "residual-lstm",
        "residual-lstm-chrono",
        "rezero-lstm",
        "rmsnorm-lstm",
    ];
    refused.sort_unstable();
    assert_eq!(refused, without);
    Ok(())
}

#[test]
fn a_step_allocates_nothing() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for name in
        ["lstm", "gru", "vanilla", "layernorm-lstm", "lstm-2layers", "lstm-proj", "gru-v3", "lstm-zoneout"]
    {
        let frozen = layer(name)?.freeze()?;
        let mut stream = frozen.start(BATCH);
        let (input, output) = stream.sizes();
        let (xs, mut ys) = (vec![0.5; STEPS * input], vec![0.0; STEPS * output]);
        stream.run(&xs, &mut ys)?;
        MEMORY.reset_peak_usage();
        let before = MEMORY.peak_usage();
        stream.run(&xs, &mut ys)?;
        assert_eq!(MEMORY.peak_usage(), before, "{name} allocated while it ran");
    }
    Ok(())
}

#[test]
fn threads_share_a_snapshot() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let layer = layer("gru")?;
    let (xs, ys, _) = expected(layer.as_ref())?;
    let frozen: Arc<dyn Frozen> = layer.freeze()?;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut found = vec![0.0; ys.len()];
                frozen.clone().start(BATCH).run(&xs, &mut found).expect("runs");
                close(&found, &ys, "gru");
            });
        }
    });
    Ok(())
}

#[test]
fn slices_of_another_size_are_refused() -> Result<()> {
    let mut stream = layer("lstm")?.freeze()?.start(BATCH);
    let error = stream.step(&[0.0; 11], &mut [0.0; 30]).expect_err("refused").to_string();
    assert!(error.contains("expected 12 and 30 values, got 11 and 30"), "{error}");
    let error = stream.run(&[0.0; 24], &mut [0.0; 30]).expect_err("refused").to_string();
    assert!(error.contains("expected steps of 12 and 30 values, got 24 and 30"), "{error}");
    let error = stream.set_carry(&Carry::Fields(Vec::new())).expect_err("refused").to_string();
    assert!(error.contains('h'), "{error}");
    Ok(())
}
