//! Snapshots for inference compute the layer's values: by steps and by chunks, from its carry or
//! one in a file, on several threads, without allocations.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use peak_alloc::PeakAlloc;
use recurrent::registry::variants;
use recurrent::{
    Carry, CellKind, Connection, Direction, ForwardContext, Gru, GruConfig, InferenceLayer, Layer,
    LstmConfig, RnnConfig, Sequence,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Serialises the tests of this file, because each would count the allocations of the others.
static ALONE: Mutex<()> = Mutex::new(());

const BATCH: usize = 3;
const STEPS: usize = 9;

fn layer(name: &str) -> Result<Box<dyn Layer>> {
    let entry =
        variants().into_iter().find(|entry| entry.name == name).expect("a variant of the registry");
    let vars = VarMap::new();
    entry.spec.with_longest_lag(20).build(
        4,
        10,
        VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu),
    )
}

/// Inputs by step, and the layer's own outputs by step with the carry after them.
fn expected(layer: &dyn Layer) -> Result<(Vec<f32>, Vec<f32>, Carry)> {
    let wave: Vec<_> = (0..STEPS * BATCH * 4).map(|i| (i as f32 * 0.7).sin()).collect();
    let xs = Tensor::from_vec(wave, (STEPS, BATCH, 4), &Device::Cpu)?;
    let by_example = Sequence::new(xs.transpose(0, 1)?.contiguous()?)?;
    let (ys, carry) = layer.run(&by_example, None, &ForwardContext::default())?;
    let ys = ys.values().transpose(0, 1)?.contiguous()?;
    Ok((xs.flatten_all()?.to_vec1()?, ys.flatten_all()?.to_vec1()?, carry))
}

fn flat(carry: &Carry) -> Result<Vec<f32>> {
    let fields = carry.named().into_iter().map(|(_, field)| field.flatten_all()?.to_vec1::<f32>());
    Ok(fields.collect::<Result<Vec<_>>>()?.concat())
}

fn close(found: &[f32], expected: &[f32], what: &str) {
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(found.len() == expected.len() && error <= 1e-6, "{what}: off by {error}");
}

#[test]
fn every_variant_streams_as_the_layer_runs() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for entry in variants() {
        let layer = layer(entry.name)?;
        let (xs, ys, carry) = expected(layer.as_ref())?;
        let snapshot = layer.to_inference()?;
        let (input, output) = (BATCH * 4, ys.len() / STEPS);
        let mut stream = snapshot.clone().stream(BATCH);
        assert_eq!(stream.sizes(), (input, output), "{}", entry.name);
        let mut found = vec![0.0; ys.len()];
        stream.run(&xs[..2 * input], &mut found[..2 * output])?;
        let half = stream.carry()?;
        let mut other = snapshot.stream(BATCH);
        other.set_carry(&half)?;
        for t in 2..STEPS {
            other.step(&xs[t * input..][..input], &mut found[t * output..][..output])?;
        }
        close(&found, &ys, entry.name);
        close(&flat(&other.carry()?)?, &flat(&carry)?, entry.name);
    }
    Ok(())
}

#[test]
fn residual_connections_stream_with_projection_and_learned_numbers() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for connection in [Connection::Residual, Connection::Highway { bias: -0.5 }, Connection::ReZero]
    {
        let spec = RnnConfig {
            layers: 3,
            connection,
            ..RnnConfig::new(CellKind::Lstm(LstmConfig::default()))
        };
        let vars = VarMap::new();
        let layer = spec.build(4, 10, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
        for (name, var) in vars.data().lock().expect("no other thread").iter() {
            if name.contains("alpha") {
                // At 0 the layer would have no effect.
                var.set(&Tensor::full(0.7f32, 1, &Device::Cpu)?)?;
            }
        }
        let (xs, ys, carry) = expected(&layer)?;
        let mut stream = layer.to_inference()?.stream(BATCH);
        let mut found = vec![0.0; ys.len()];
        stream.run(&xs, &mut found)?;
        close(&found, &ys, &format!("{connection:?}"));
        close(&flat(&stream.carry()?)?, &flat(&carry)?, &format!("{connection:?}"));
    }
    Ok(())
}

#[test]
fn a_state_survives_in_a_file() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = tempfile::NamedTempFile::new()?.into_temp_path();
    for name in ["gru", "lstm-2layers", "rezero-lstm", "kim-residual-lstm"] {
        let layer = layer(name)?;
        let (xs, ys, _) = expected(layer.as_ref())?;
        let (input, output) = (BATCH * 4, ys.len() / STEPS);
        let mut found = vec![0.0; ys.len()];
        for (xs, ys) in xs.chunks(4 * input).zip(found.chunks_mut(4 * output)) {
            let mut stream = layer.to_inference()?.stream(BATCH); // as after a restart
            if std::fs::metadata(&path)?.len() > 0 {
                let saved = recurrent::weights::read(&path)?.tensors;
                stream.set_carry(&stream.carry()?.with_named(&saved)?)?;
            }
            stream.run(xs, ys)?;
            candle_core::safetensors::save(&stream.carry()?.named().into_iter().collect(), &path)?;
        }
        close(&found, &ys, name);
        std::fs::write(&path, [])?;
    }
    Ok(())
}

#[test]
fn a_state_with_other_names_or_shapes_is_refused() -> Result<()> {
    let carry = layer("lstm-2layers")?.to_inference()?.stream(BATCH).carry()?;
    let mut tensors: BTreeMap<_, _> = carry.named().into_iter().collect();
    let names: BTreeSet<_> = tensors.keys().cloned().collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["0.c", "0.h", "1.c", "1.h"]);
    let h = tensors.remove("1.h").expect("it is there");
    tensors.insert("h".to_string(), h.clone());
    tensors.insert("0.c".to_string(), h.narrow(0, 0, 2)?);
    let error = carry.with_named(&tensors).expect_err("refused").to_string();
    assert!(
        error.contains(
            "carry: 0.c: expected [3, 10], got [2, 10]; 1.h is missing; h is superfluous"
        ),
        "{error}"
    );
    Ok(())
}

#[test]
fn reversed_layers_have_no_snapshot() -> Result<()> {
    let vb = || VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    let spec = RnnConfig {
        direction: Direction::Bidirectional,
        ..RnnConfig::new(CellKind::Gru(GruConfig::default()))
    };
    let error = spec.build(4, 10, vb())?.to_inference().err().expect("refused").to_string();
    assert!(error.contains("a bidirectional layer"), "{error}");
    let reversed = Gru::new(4, 10, &GruConfig::default(), vb())?.reversed();
    let error = reversed.to_inference().err().expect("refused").to_string();
    assert!(error.contains("a reversed layer"), "{error}");
    Ok(())
}

#[test]
fn a_step_allocates_nothing() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for name in [
        "lstm",
        "gru",
        "vanilla",
        "layernorm-lstm",
        "lstm-2layers",
        "lstm-proj",
        "gru-v3",
        "lstm-zoneout",
    ] {
        let snapshot = layer(name)?.to_inference()?;
        let mut stream = snapshot.stream(BATCH);
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
fn threads_share_a_layer() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let layer: Arc<dyn Layer> = Arc::new(layer("lstm-2layers")?);
    let (_, ys, _) = expected(layer.as_ref())?;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| close(&expected(layer.as_ref()).expect("runs").1, &ys, "lstm-2layers"));
        }
    });
    Ok(())
}

#[test]
fn threads_share_a_snapshot() -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let layer = layer("gru")?;
    let (xs, ys, _) = expected(layer.as_ref())?;
    let snapshot: Arc<dyn InferenceLayer> = layer.to_inference()?;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut found = vec![0.0; ys.len()];
                snapshot.clone().stream(BATCH).run(&xs, &mut found).expect("runs");
                close(&found, &ys, "gru");
            });
        }
    });
    Ok(())
}

#[test]
fn slices_of_another_size_are_refused() -> Result<()> {
    let mut stream = layer("lstm")?.to_inference()?.stream(BATCH);
    let error = stream.step(&[0.0; 11], &mut [0.0; 30]).expect_err("refused").to_string();
    assert!(error.contains("expected 12 and 30 values, got 11 and 30"), "{error}");
    let error = stream.run(&[0.0; 24], &mut [0.0; 30]).expect_err("refused").to_string();
    assert!(error.contains("expected steps of 12 and 30 values, got 24 and 30"), "{error}");
    let error = stream.set_carry(&Carry::Cell(Vec::new())).expect_err("refused").to_string();
    assert!(
        error.contains("stream carry: expected one carry for each layer, got fields"),
        "{error}"
    );
    for name in ["lstm", "kim-residual-lstm"] {
        let mut stream = layer(name)?.to_inference()?.stream(BATCH);
        let other = layer(name)?.to_inference()?.stream(BATCH + 1).carry()?;
        let error = stream.set_carry(&other).expect_err("refused").to_string();
        assert!(error.contains("stream carry h: expected"), "{error}");
    }
    Ok(())
}
