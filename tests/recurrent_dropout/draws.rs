//! The arguments of masks, and their rates.

use super::masks::{kept_h, Glass, Masks, Shows, Sizes};
use super::{everything, IMPLEMENTATIONS};
use anyhow::ensure;
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use recurrent::core::StepKey;
use recurrent::{
    Bidirectional, Carry, Execution, ForwardContext, GruConfig, Layer, LayerId, LstmConfig,
    RecurrentDropout, Rnn, Sequence, Stack,
};
use recurrent_testkit::{close, noise, Implementation, Result, Tolerance};

const SIZES: Sizes = Sizes { batch: 6, steps: 8, input: 7, hidden: 9 };

fn weights() -> candle_core::Result<Vec<(String, Tensor)>> {
    let ones = |name: &str| Ok((name.to_string(), Tensor::ones((9, 9), DType::F64, &Device::Cpu)?));
    ["weight_hh_l0", "weight_hh_l1", "weight_ih_l0"].into_iter().map(ones).collect()
}

/// All masks of a training run by name.
fn masks(context: &ForwardContext) -> Result<Vec<(String, Vec<f64>)>> {
    let masks = Masks::of(everything(&["h", "c"]), context, SIZES, &weights()?)?;
    let [h, c] = masks.keep;
    let named = [("input", masks.input), ("seen", masks.seen), ("h", h), ("c", c)];
    let named = named.into_iter().map(|(name, mask)| (name.to_string(), mask));
    let all = named
        .chain(masks.weights.into_iter().map(|(name, mask)| (format!("dropped {name}"), mask)));
    all.map(|(name, mask)| Ok((name, mask.flatten_all()?.to_vec1()?))).collect()
}

fn at(seed: u64, step: u64, layer_id: LayerId) -> ForwardContext<'static> {
    ForwardContext { key: Some(StepKey { seed, step }), layer_id, ..ForwardContext::default() }
}

#[test]
fn masks_depend_on_seed_step_and_layer_alone() -> Result<()> {
    let layer_id = LayerId::layer(1);
    let first = masks(&at(3, 5, layer_id))?;
    assert_eq!(first, masks(&at(3, 5, layer_id))?);
    let others = [
        ("seed", at(4, 5, layer_id)),
        ("step", at(3, 6, layer_id)),
        ("layer", at(3, 5, LayerId::layer(0))),
        ("direction", at(3, 5, LayerId { reverse: true, ..layer_id })),
    ];
    for (what, other) in others {
        for ((name, mask), (_, other)) in first.iter().zip(masks(&other)?) {
            ensure!(*mask != other, "another {what} does not change the mask of {name}");
        }
    }
    // No two masks of a run are equal, not even those of matrices of one shape.
    for (index, (name, mask)) in first.iter().enumerate() {
        for (other, second) in &first[..index] {
            ensure!(mask != second, "{name} and {other} have one mask");
        }
    }
    Ok(())
}

/// Masks are zeros and 1 / (1 − rate), zoneout's zeros and ones, each at its rate: within 5
/// standard deviations over 200 draws.
#[test]
fn masks_drop_at_their_rates() -> Result<()> {
    let rates = everything(&["h", "c"]);
    let mut counts = std::collections::BTreeMap::<String, (f64, f64)>::new();
    for step in 0..200 {
        for (name, mask) in masks(&at(8, step, LayerId::default()))? {
            let (rate, dropped, other) = match name.as_str() {
                "input" => (rates.input, 0.0, 1.0 / (1.0 - rates.input)),
                "seen" => (rates.recurrent, 0.0, 1.0 / (1.0 - rates.recurrent)),
                "h" => (rates.zoneout_h, 1.0, 0.0),
                "c" => (rates.zoneout_c, 1.0, 0.0),
                _ => (rates.weights, 0.0, 1.0 / (1.0 - rates.weights)),
            };
            let count = mask.iter().filter(|&&value| value == dropped).count() as f64;
            ensure!(
                mask.iter().all(|&value| value == dropped || value == other),
                "{name}: {mask:?}"
            );
            let sum = counts.entry(name).or_default();
            let size = mask.len() as f64;
            *sum = (sum.0 + count - rate * size, sum.1 + rate * (1.0 - rate) * size);
        }
    }
    assert_eq!(counts.len(), 6, "{:?}", counts.keys()); // weight_ih has no dropout
    for (name, (excess, variance)) in counts {
        let deviations = excess / variance.sqrt();
        ensure!(deviations.abs() < 5.0, "{name}: {deviations} standard deviations from its rate");
    }
    Ok(())
}

/// In evaluation nothing is dropped, and zoneout uses its rate exactly.
#[test]
fn evaluation_has_no_masks() -> Result<()> {
    let rate = kept_h(0.25, &ForwardContext::default(), SIZES)?.flatten_all()?.to_vec1::<f64>()?;
    // 0.25 and the counts 0.75 n are exact.
    assert_eq!(rate, vec![0.25; 6 * 8 * 9]);
    Ok(())
}

/// The same bits at any number of threads, twice.
#[test]
fn threads_change_nothing() -> Result<()> {
    let xs = Sequence::padded(
        noise("xs", &[70, 9, 3])?,
        &(0..70).map(|row| 1 + row % 9).collect::<Vec<_>>(),
    )?;
    for implementation in IMPLEMENTATIONS {
        let path = if implementation == Implementation::Kernel {
            Execution::Kernel
        } else {
            Execution::Replay
        };
        let run = |threads: usize| -> Result<_> {
            let vars = VarMap::new();
            let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
            let lstm = Rnn::new(3, 9, &LstmConfig::default(), vb)?
                .with_recurrent_dropout(everything(&["h", "c"]))?
                .with_execution(path);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            pool.install(|| {
                let (ys, _) = lstm.run(&xs, None, &ForwardContext::train(1, 2))?;
                let grads = (ys.values() * noise("loss", &[70, 9, 9])?)?.sum_all()?.backward()?;
                let gradient = |(_, param)| grads.get(&param).expect("a gradient").flatten_all();
                let grads = lstm
                    .params()
                    .into_iter()
                    .map(gradient)
                    .collect::<candle_core::Result<Vec<_>>>()?;
                Ok(Tensor::cat(&[vec![ys.values().flatten_all()?], grads].concat(), 0)?)
            })
        };
        let one = run(1)?;
        for threads in [1, 3] {
            close(
                &format!("{implementation:?}, {threads} threads"),
                &run(threads)?,
                &one,
                Tolerance::Bits,
            )?;
        }
    }
    Ok(())
}

/// The layers of a stack and the two directions have different masks.
#[test]
fn a_stack_has_masks_of_its_own_in_every_layer() -> Result<()> {
    let glass = || -> candle_core::Result<Box<dyn Layer>> {
        let glass = Glass { shows: Shows::Input, input: 9, size: 9, weights: Vec::new() };
        Ok(Box::new(
            Rnn::from_cell(glass)
                .with_recurrent_dropout(RecurrentDropout::variational(0.3, 0.0))?
                .with_execution(Execution::Replay),
        ))
    };
    let ones = Sequence::new(Tensor::ones((6, 1, 9), DType::F64, &Device::Cpu)?)?;
    let seen = |layer: &dyn Layer, context: &ForwardContext| -> candle_core::Result<_> {
        layer.run(&ones, None, context)?.0.into_values().flatten_all()?.to_vec1::<f64>()
    };
    let context = ForwardContext::train(1, 1);
    let (low, high) = (seen(&glass()?, &context)?, seen(&glass()?, &context.offset_layer(1))?);
    assert_ne!(low, high);
    let product: Vec<f64> = low.iter().zip(&high).map(|(low, high)| low * high).collect();
    assert_eq!(seen(&Stack::from_layers(vec![glass()?, glass()?])?, &context)?, product);

    let both = Bidirectional::new(glass()?, glass()?)?.run(&ones, None, &context)?.0.into_values();
    let half = |from| both.narrow(2, from, 9)?.flatten_all()?.to_vec1::<f64>();
    assert_eq!(half(0)?, low);
    assert_eq!(half(9)?, seen(&glass()?, &context.reverse())?);
    assert_ne!(half(9)?, low);
    Ok(())
}

/// Over one linear step, evaluation gives the mean of training: within 5 standard deviations of the
/// mean of 4000 draws for each of 54 units, and the mean square over all units is that of chance (1
/// ± 0.6 in deviations, a χ² of 54).
#[test]
fn evaluation_is_the_expectation_of_zoneout_over_a_linear_step() -> Result<()> {
    let (rate, draws) = (0.3, 4000u64);
    let weights = vec![("weight_ih_l0".to_string(), noise("w", &[9, 7])?)];
    let glass = Glass { shows: Shows::Product, input: 7, size: 9, weights };
    let plain = Rnn::from_cell(glass).with_execution(Execution::Replay);
    let layer = plain.clone().with_recurrent_dropout(RecurrentDropout::zoneout(rate, 0.0))?;
    let (xs, h) = (Sequence::new(noise("xs", &[6, 1, 7])?)?, noise("h", &[6, 9])?);
    let carry = Carry::Cell(vec![("h", h.clone()), ("c", h.zeros_like()?)]);
    let step = |layer: &dyn Layer, context: &ForwardContext| {
        Ok::<_, anyhow::Error>(layer.last(&xs, Some(&carry), context)?.0)
    };
    let mut sum = h.zeros_like()?;
    for draw in 0..draws {
        sum = (sum + step(&layer, &ForwardContext::train(2, draw))?)?;
    }
    let mean = (sum / draws as f64)?;
    let evaluated = step(&layer, &ForwardContext::default())?;
    // A draw is h, or with probability 1 − rate h + jump.
    let jump = (step(&plain, &ForwardContext::default())? - &h)?;
    let relative_error = (jump.abs()? * (rate * (1.0 - rate) / draws as f64).sqrt())?;
    let off = ((mean - evaluated)? / relative_error)?;
    let largest = off.abs()?.max_all()?.to_scalar::<f64>()?;
    ensure!(largest < 5.0, "{largest} standard deviations off");
    let square = off.sqr()?.mean_all()?.to_scalar::<f64>()?;
    ensure!((0.4..1.6).contains(&square), "the mean square in deviations is {square}");
    Ok(())
}

/// A cell without c accepts zoneout of h, and masks differ between runs.
#[test]
fn zoneout_of_a_gru_is_new_in_every_pass() -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let gru = Rnn::new(3, 9, &GruConfig::default(), vb)?
        .with_recurrent_dropout(RecurrentDropout::zoneout(0.4, 0.0))?
        .with_execution(Execution::Replay);
    let xs = Sequence::new(noise("xs", &[4, 6, 3])?)?;
    let run = |context: &ForwardContext| -> candle_core::Result<_> {
        gru.run(&xs, None, context)?.0.into_values().flatten_all()?.to_vec1::<f64>()
    };
    assert_eq!(run(&ForwardContext::train(1, 1))?, run(&ForwardContext::train(1, 1))?);
    assert_ne!(run(&ForwardContext::train(1, 1))?, run(&ForwardContext::train(1, 2))?);
    assert_eq!(run(&ForwardContext::default())?, run(&ForwardContext::default())?);
    Ok(())
}
