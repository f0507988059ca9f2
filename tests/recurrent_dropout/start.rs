//! The learned initial state.

use super::everything;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use recurrent::{
    Carry, Cell, CellConfig, Execution, ForwardContext, GruConfig, Layer, LayerId, LstmConfig, Rnn,
    Sequence,
};
use recurrent_testkit::{close, noise, Result, Tolerance};
use std::collections::HashMap;

/// A layer with the weights of `map`, and its variables of the initial state.
fn learned<K: CellConfig>(
    config: &K,
    layer_id: LayerId,
    map: &VarMap,
) -> candle_core::Result<Rnn<K::Cell>> {
    let vb = VarBuilder::from_varmap(map, DType::F64, &Device::Cpu);
    Rnn::at_layer(layer_id, 3, 5, config, vb.clone())?.with_learned_start(layer_id, &vb)
}

fn sequence() -> Result<Sequence> {
    Ok(Sequence::padded(noise("xs", &[4, 7, 3])?, &[5, 1, 7, 3])?)
}

/// The gradient of the initial state is the sum over the batch of that of a carry with the same
/// values, in evaluation and training, in every implementation and both directions. A given carry
/// replaces it; then it has no gradient.
fn as_a_carry<K: CellConfig>(config: K, names: &[&'static str]) -> Result<()> {
    for (reverse, path, train) in [
        (false, Execution::Replay, false),
        (true, Execution::Replay, true),
        (false, Execution::Replay, true),
        (false, Execution::Auto, false),
        (true, Execution::Auto, false),
    ] {
        let (map, layer_id) = (VarMap::new(), LayerId { layer: 1, reverse });
        let layer = learned(&config, layer_id, &map)?.with_recurrent_dropout(if train {
            everything(names)
        } else {
            super::NONE
        })?;
        let (layer, context) = (
            layer.with_execution(path),
            if train { ForwardContext::train(1, 1) } else { ForwardContext::default() },
        );
        let cell = layer.cell().params().len();
        let start = layer.params().split_off(cell);
        let expected: Vec<_> =
            names.iter().map(|name| format!("{name}0{}", layer_id.suffix())).collect();
        assert_eq!(start.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), expected);
        for (name, value) in &start {
            assert_eq!(value.to_vec2::<f64>()?, [[0.0; 5]], "{name} begins at zero");
            Var::from_tensor(value)?.set(&noise(name, &[1, 5])?)?;
        }
        let loss = |ys: &Sequence, carry: &Carry| -> candle_core::Result<Tensor> {
            let mut loss = (ys.values() * noise("loss", &[4, 7, 5]).expect("made"))?.sum_all()?;
            for name in names {
                loss = (loss
                    + (carry.field(name)? * noise(name, &[4, 5]).expect("made"))?.sum_all()?)?;
            }
            Ok(loss)
        };
        let xs = sequence()?;
        let (ys, end) = layer.run(&xs, None, &context)?;
        let grads = loss(&ys, &end)?.backward()?;

        let repeat =
            |(_, value): &(String, Tensor)| Var::from_tensor(&value.detach().repeat((4, 1))?);
        let vars = start.iter().map(repeat).collect::<candle_core::Result<Vec<_>>>()?;
        let fields = names.iter().copied().zip(vars.iter().map(|var| var.as_tensor().clone()));
        let carry = Carry::Cell(fields.collect());
        let (same, end) = layer.run(&xs, Some(&carry), &context)?;
        let given = loss(&same, &end)?.backward()?;
        close("the outputs", ys.values(), same.values(), Tolerance::Bits)?;
        for ((name, value), var) in start.iter().zip(&vars) {
            let gradient = grads.get(value).expect("it has a gradient");
            let expected = given.get(var).expect("it has a gradient").sum_keepdim(0)?;
            close(name, gradient, &expected, Tolerance::Norm(1e-14))?;
            assert!(given.get(value).is_none(), "{name} has a gradient where a carry is given");
        }
        for (name, param) in layer.cell().params() {
            let (found, expected) =
                (grads.get(&param).expect("one"), given.get(&param).expect("one"));
            close(&name, found, expected, Tolerance::Bits)?;
        }

        let zeros = carry.map(&mut |field| field.zeros_like())?;
        let plain = Rnn::at_layer(
            layer_id,
            3,
            5,
            &config,
            VarBuilder::from_varmap(&map, DType::F64, &Device::Cpu),
        )?;
        let plain = plain
            .with_recurrent_dropout(if train { everything(names) } else { super::NONE })?
            .with_execution(path);
        let (expected, _) = plain.run(&xs, None, &context)?;
        let (found, _) = layer.run(&xs, Some(&zeros), &context)?;
        close("with a carry of zeros", found.values(), expected.values(), Tolerance::Bits)?;
    }
    Ok(())
}

#[test]
fn a_learned_start_is_a_carry_for_every_example() -> Result<()> {
    as_a_carry(LstmConfig::default(), &["h", "c"])?;
    as_a_carry(GruConfig::default(), &["h"])
}

/// It is saved and loaded by name, through a variable map and through tensors; another shape is
/// refused.
#[test]
fn it_is_saved_by_name() -> Result<()> {
    let layer_id = LayerId { layer: 1, reverse: true };
    let map = VarMap::new();
    let layer = learned(&LstmConfig::default(), layer_id, &map)?.with_execution(Execution::Replay);
    for (name, param) in layer.params() {
        Var::from_tensor(&param)?.set(&noise(&name, param.dims())?)?;
    }
    let xs = sequence()?;
    let run = |layer: &dyn Layer| -> Result<Tensor> {
        Ok(layer.run(&xs, None, &ForwardContext::default())?.0.into_values())
    };
    let expected = run(&layer)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.safetensors");
    map.save(&path)?;
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu)?;
    assert!(tensors.contains_key("h0_l1_reverse") && tensors.contains_key("c0_l1_reverse"));

    let mut map = VarMap::new();
    let layer = learned(&LstmConfig::default(), layer_id, &map)?.with_execution(Execution::Replay);
    assert_ne!(
        run(&layer)?.flatten_all()?.to_vec1::<f64>()?,
        expected.flatten_all()?.to_vec1::<f64>()?
    );
    map.load(&path)?;
    close("loaded into its variables", &run(&layer)?, &expected, Tolerance::Bits)?;

    let from = |tensors: HashMap<String, Tensor>| {
        let vb = VarBuilder::from_tensors(tensors, DType::F64, &Device::Cpu);
        Rnn::at_layer(layer_id, 3, 5, &LstmConfig::default(), vb.clone())?
            .with_learned_start(layer_id, &vb)
    };
    close(
        "from a file",
        &run(&from(tensors.clone())?.with_execution(Execution::Replay))?,
        &expected,
        Tolerance::Bits,
    )?;
    let mut other = tensors.clone();
    other.insert("c0_l1_reverse".to_string(), noise("c", &[1, 6])?);
    let error = from(other).map(drop).expect_err("another shape").to_string();
    assert!(
        error.contains("c0_l1_reverse") && error.contains("[1, 5]") && error.contains("[1, 6]"),
        "{error}"
    );
    Ok(())
}
