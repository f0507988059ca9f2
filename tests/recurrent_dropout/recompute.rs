//! Recomputation changes no gradient.

use super::{everything, NONE};
use candle_core::{DType, Device, Var};
use candle_nn::{VarBuilder, VarMap};
use recurrent::{
    CellConfig, Execution, ForwardContext, GradientRecorder, GruConfig, Layer, LayerId,
    LayerNormLstmConfig, LstmConfig, Recompute, Record, Rnn, Sequence,
};
use recurrent_testkit::close::all_close;
use recurrent_testkit::{noise, Result, TensorMap, Tolerance};

/// The implementations whose recomputation rules are compared, with the tolerance. Replay adds the
/// gradients of the weights step by step from the last to the first under every rule: the same
/// bits.
const PATHS: [(Execution, Tolerance); 2] =
    [(Execution::Replay, Tolerance::Bits), (Execution::Kernel, Tolerance::Norm(1e-14))];

const RULES: [Recompute; 6] = [
    Recompute::Auto,
    Recompute::SquareRoot,
    Recompute::Every(1),
    Recompute::Every(7),
    Recompute::Every(22),
    Recompute::Every(1000),
];

fn run<K: CellConfig>(
    config: &K,
    fields: &[&str],
    (path, checkpoint): (Execution, Recompute),
    (reverse, train): (bool, bool),
) -> Result<TensorMap> {
    let (map, layer_id) = (VarMap::new(), LayerId { layer: 0, reverse });
    let vb = VarBuilder::from_varmap(&map, DType::F64, &Device::Cpu);
    let layer = Rnn::at_layer(layer_id, 3, 5, config, vb.clone())?
        .with_execution(path)
        .with_recurrent_dropout(if train { everything(fields) } else { NONE })?
        .with_learned_start(layer_id, &vb)?
        .with_recompute(checkpoint)?;
    let recorder = GradientRecorder::new(Record::Gradients);
    let context = if train { ForwardContext::train(1, 1) } else { ForwardContext::default() }
        .record(&recorder);
    let xs = Var::from_tensor(&noise("xs", &[4, 23, 3])?)?;
    let sequence = Sequence::padded(xs.as_tensor().clone(), &[22, 1, 8, 15])?;
    let (ys, end) = layer.run(&sequence, None, &context)?;
    let mut loss = (ys.values() * noise("loss", &[4, 23, 5])?)?.sum_all()?;
    let mut all = TensorMap::from([("ys".to_string(), ys.values().detach())]);
    for field in fields {
        let value = end.field(field)?;
        loss = (loss + (value * noise(field, &[4, 5])?)?.sum_all()?)?;
        all.insert(format!("end {field}"), value.detach());
    }
    let grads = loss.backward()?;
    let leaves = layer.params().into_iter().chain([("xs".to_string(), xs.as_tensor().clone())]);
    all.extend(leaves.map(|(name, leaf)| {
        (format!("gradient of {name}"), grads.get(&leaf).expect("one").clone())
    }));
    for trace in recorder.take() {
        all.insert(format!("recorded {}", trace.field), trace.gradients.expect("kept"));
    }
    Ok(all)
}

fn agree<K: CellConfig>(config: K, fields: &[&str]) -> Result<()> {
    for (path, tolerance) in PATHS {
        for how in [(false, false), (true, false), (false, true), (true, true)] {
            let expected = run(&config, fields, (path, Recompute::Auto), how)?;
            assert!(expected.contains_key("recorded h"));
            for checkpoint in RULES {
                let found = run(&config, fields, (path, checkpoint), how)?;
                all_close(
                    &format!("{path:?} {checkpoint:?}, {how:?}"),
                    &found,
                    &expected,
                    tolerance,
                )?;
            }
        }
    }
    Ok(())
}

#[test]
fn every_rule_gives_the_same() -> Result<()> {
    agree(LstmConfig::default(), &["h", "c"])?;
    agree(GruConfig::default(), &["h"])?;
    agree(LayerNormLstmConfig::default(), &["h", "c"])
}
