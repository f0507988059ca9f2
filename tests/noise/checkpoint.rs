//! What is kept for the way back changes no gradient.

use super::{everything, NONE};
use candle::{DType, Device, Var};
use candle_nn::{VarBuilder, VarMap};
use recurrent::{
    CellConfig, Checkpoint, GruConfig, Keep, Layer, LayerNormLstmConfig, LstmConfig, Pass, Path,
    Place, Recorder, Rnn, Sequence,
};
use recurrent_testkit::close::all_close;
use recurrent_testkit::{noise, Result, TensorMap, Tolerance};

/// The paths whose checkpoints are compared, each with how close its rules must be to each other.
/// Replay adds the gradients of the weights step by step from the last to the first, whatever it
/// keeps: the same bits.
const PATHS: [(Path, Tolerance); 2] =
    [(Path::Replay, Tolerance::Bits), (Path::Kernel, Tolerance::Norm(1e-14))];

const RULES: [Checkpoint; 6] = [
    Checkpoint::Auto,
    Checkpoint::SquareRoot,
    Checkpoint::Every(1),
    Checkpoint::Every(7),
    Checkpoint::Every(22),
    Checkpoint::Every(1000),
];

fn run<K: CellConfig>(
    config: &K,
    fields: &[&str],
    (path, checkpoint): (Path, Checkpoint),
    (reverse, train): (bool, bool),
) -> Result<TensorMap> {
    let (map, place) = (VarMap::new(), Place { layer: 0, reverse });
    let vb = VarBuilder::from_varmap(&map, DType::F64, &Device::Cpu);
    let layer = Rnn::at(place, 3, 5, config, vb.clone())?
        .on(path)
        .with_noise(if train { everything(fields) } else { NONE })?
        .with_learned_start(place, &vb)?
        .with_checkpoint(checkpoint)?;
    let recorder = Recorder::new(Keep::Gradients);
    let pass = if train { Pass::train(1, 1) } else { Pass::default() }.record(&recorder);
    let xs = Var::from_tensor(&noise("xs", &[4, 23, 3])?)?;
    let sequence = Sequence::padded(xs.as_tensor().clone(), &[22, 1, 8, 15])?;
    let (ys, end) = layer.run(&sequence, None, &pass)?;
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
            let expected = run(&config, fields, (path, Checkpoint::Auto), how)?;
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
