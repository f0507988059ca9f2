//! Attention over the outputs, as a read-out.

use crate::cells::{plain, tanh};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use recurrent_core::{ForwardContext, GradientRecorder, Record, Sequence};
use recurrent_harness::network::Network;
use recurrent_harness::variant::{Size, Variant};
use recurrent_records::config::Readout;
use recurrent_tasks as tasks;
use recurrent_tasks::task::{BatchKey, LossTarget, Split, Task};
use recurrent_train::Params;
use std::sync::Arc;

const HIDDEN: usize = 5;

/// A task of sequences of different lengths that is read at the end, and a task that is read at
/// every step.
fn both() -> [Arc<dyn Task>; 2] {
    [("temporal-order", 20), ("copy", 3)]
        .map(|(name, length)| tasks::by_name(name, Some(length), None).expect("known"))
}

fn network(variant: &Variant, task: &dyn Task, readout: Readout) -> Result<(Network, Params)> {
    let size = Size { input: task.input_size(), hidden: HIDDEN, longest_lag: 20 };
    Ok(Network::trainable(variant, size, task, readout, 2, DType::F64, &Device::Cpu)?)
}

fn inputs(task: &dyn Task) -> Result<Sequence> {
    let draw = BatchKey { split: Split::Train, seed: 0, step: 0, batch: 6 };
    Ok(task.batch(draw, DType::F64, &Device::Cpu)?.xs)
}

/// W h, for a matrix given by its rows.
fn times(matrix: &[Vec<f64>], h: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| row.iter().zip(h).map(|(w, h)| w * h).sum()).collect()
}

#[test]
fn attention_matches_plain_loops() -> Result<()> {
    for task in both() {
        let (network, params) = network(&tanh("t"), task.as_ref(), Readout::Attention)?;
        let weight = |name: &str| {
            params.get(&format!("readout.{name}weight")).expect("there is one").to_vec2::<f64>()
        };
        let (w, query, key, context) =
            (weight("")?, weight("query.")?, weight("key.")?, weight("context.")?);
        let bias = params.get("readout.bias").expect("there is one").to_vec1::<f64>()?;
        let xs = inputs(task.as_ref())?;
        let (batch, time, _) = xs.values().dims3()?;
        let hs = network
            .rnn()
            .run(&xs, None, &ForwardContext::default())?
            .0
            .values()
            .to_vec3::<f64>()?;
        let found = network.forward(&xs, &ForwardContext::default())?;
        let found = match task.loss_target() {
            LossTarget::Last => found.unsqueeze(1)?,
            LossTarget::Every => found,
        };
        let found = found.to_vec3::<f64>()?;
        for example in 0..batch {
            let length = xs.lengths().map_or(time, |lengths| lengths.as_slice()[example]);
            let reads = match task.loss_target() {
                LossTarget::Last => length - 1..length,
                LossTarget::Every => 0..length,
            };
            for (index, t) in reads.enumerate() {
                let (h, q) = (&hs[example], times(&query, &hs[example][t]));
                let score =
                    |s: usize| times(&key, &h[s]).iter().zip(&q).map(|(k, q)| k * q).sum::<f64>();
                let a: Vec<f64> =
                    (0..=t).map(|s| (score(s) / (HIDDEN as f64).sqrt()).exp()).collect();
                let total: f64 = a.iter().sum();
                let sum: Vec<f64> = (0..HIDDEN)
                    .map(|unit| (0..=t).map(|s| a[s] / total * h[s][unit]).sum())
                    .collect();
                let answer = times(&w, &h[t]).into_iter().zip(times(&context, &sum)).zip(&bias);
                for (found, ((own, context), bias)) in found[example][index].iter().zip(answer) {
                    let apart = (found - (own + context + bias)).abs();
                    assert!(apart < 1e-13, "{} example {example} step {t}: {apart}", task.name());
                }
            }
        }
    }
    Ok(())
}

#[test]
fn padding_changes_nothing() -> Result<()> {
    let task = &both()[0];
    let (network, _) = network(&tanh("t"), task.as_ref(), Readout::Attention)?;
    let xs = inputs(task.as_ref())?;
    let lengths = xs.lengths().expect("they differ").as_slice().to_vec();
    assert!(lengths.iter().any(|length| *length != lengths[0]), "{lengths:?}");
    let garbage =
        (xs.mask(DType::F64)?.affine(-1e3, 1e3)?.broadcast_as(xs.values().shape())? + xs.values())?;
    let (clean, dirty) = (
        network.forward(&xs, &ForwardContext::default())?,
        network.forward(&xs.with_values(garbage)?, &ForwardContext::default())?,
    );
    assert_eq!(clean.to_vec2::<f64>()?, dirty.to_vec2::<f64>()?);
    for (row, length) in lengths.into_iter().enumerate() {
        let alone = Sequence::new(xs.values().narrow(0, row, 1)?.narrow(1, 0, length)?)?;
        let alone = network.forward(&alone, &ForwardContext::default())?;
        let apart = (clean.narrow(0, row, 1)? - alone)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(apart < 1e-14, "row {row}: {apart}");
    }
    Ok(())
}

#[test]
fn gradients_match_finite_differences() -> Result<()> {
    for task in both() {
        let (network, params) = network(&tanh("t"), task.as_ref(), Readout::Attention)?;
        let xs = inputs(task.as_ref())?;
        let loss = || -> Result<Tensor> {
            Ok((network.forward(&xs, &ForwardContext::default())? - 0.3)?.sqr()?.mean_all()?)
        };
        let grads = loss()?.backward()?;
        for (name, var) in params.iter() {
            let grad = grads
                .get(var)
                .expect("every weight has a gradient")
                .flatten_all()?
                .to_vec1::<f64>()?;
            let start = var.flatten_all()?.to_vec1::<f64>()?;
            for element in [0, start.len() / 2, start.len() - 1] {
                let at = |shift: f64| -> Result<f64> {
                    let mut values = start.clone();
                    values[element] += shift;
                    var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu)?)?;
                    Ok(loss()?.to_scalar::<f64>()?)
                };
                let expected = (at(1e-5)? - at(-1e-5)?) / 2e-5;
                at(0.0)?;
                let apart = (grad[element] - expected).abs();
                assert!(
                    apart < 1e-9,
                    "{} {name}[{element}]: {}, expected {expected}",
                    task.name(),
                    grad[element]
                );
            }
        }
    }
    Ok(())
}

/// A linear recurrence h' = W x + U h: the gradient that reaches a state through the recurrence
/// alone is dL/dh_{t+1} U, so any other path shows.
#[test]
fn detached_attention_leaves_the_recurrence_alone() -> Result<()> {
    let task = tasks::by_name("adding", Some(9), None)?;
    for (readout, alone) in
        [(Readout::Plain, true), (Readout::AttentionDetached, true), (Readout::Attention, false)]
    {
        let (network, params) = network(&plain("linear", |x, h| x + h), task.as_ref(), readout)?;
        let u = params.get("rnn.weight_hh").expect("there is one");
        let recorder = GradientRecorder::new(Record::Gradients);
        let outputs = network
            .forward(&inputs(task.as_ref())?, &ForwardContext::default().record(&recorder))?;
        outputs.sqr()?.mean_all()?.backward()?;
        let gradients = recorder.take()[0].gradients.clone().expect("kept");
        for step in 1..9 {
            let (now, next) = (
                gradients.narrow(1, step, 1)?.squeeze(1)?,
                gradients.narrow(1, step + 1, 1)?.squeeze(1)?,
            );
            let apart = (now - next.matmul(u)?)?.abs()?.max_all()?.to_scalar::<f64>()?;
            assert_eq!(apart < 1e-15, alone, "{readout:?} step {step}: {apart}");
        }
    }
    Ok(())
}

#[test]
fn paired_networks_begin_with_the_same_weights() -> Result<()> {
    for task in both() {
        let (_, without) = network(&tanh("t"), task.as_ref(), Readout::Plain)?;
        let (with, params) = network(&tanh("t"), task.as_ref(), Readout::Attention)?;
        for (name, var) in without.iter() {
            let other =
                params.get(name).expect("under the same name").flatten_all()?.to_vec1::<f64>()?;
            assert_eq!(var.flatten_all()?.to_vec1::<f64>()?, other, "{name}");
        }
        let own: Vec<_> = params.names().filter(|name| without.get(name).is_none()).collect();
        assert_eq!(own, ["readout.context.weight", "readout.key.weight", "readout.query.weight"]);
        let size = Size { input: task.input_size(), hidden: HIDDEN, longest_lag: 20 };
        let counted = Network::count(&tanh("t"), size, task.as_ref(), Readout::Attention)?;
        assert_eq!(params.element_count(), counted);
        let frozen = Network::frozen(&tanh("t"), size, task.as_ref(), Readout::Attention, &params)?;
        let xs = inputs(task.as_ref())?;
        let (alive, frozen) = (
            with.forward(&xs, &ForwardContext::default())?,
            frozen.forward(&xs, &ForwardContext::default())?,
        );
        assert_eq!(alive.flatten_all()?.to_vec1::<f64>()?, frozen.flatten_all()?.to_vec1::<f64>()?);
        assert!(alive.track_op() && !frozen.track_op());
    }
    Ok(())
}
