//! All measures of a network at one moment of its training, in levels by their cost.
//!
//! | level | what | from |
//! |---|---|---|
//! | `profiles` | profiles, half-lives, horizons, underflow, clipping, spectral radii | ordinary training and one backward pass |
//! | `gradients` | gates, carousel, Ω, spectra, long-range share, truncation, f64 shadow, noise, rank, depth | some backward passes in f64 |
//! | `dynamics` | Jacobians, Lyapunov spectrum, sensitivity, memory capacity | one Jacobian per step |
//!
//! The first level is always measured. The others are chosen by
//! [`TrainingConfig::measures`](crate::config::TrainingConfig::measures), are taken before and after
//! training, and become lines of `measures.jsonl`; `runs.jsonl` records the time they took. They
//! are the measures of [`recurrent_measures`], which documents formulas and sources, on the
//! network's weights in f64.

mod dynamics;
mod gradients;
mod writer;

use crate::config::Level;
use crate::error::Result;
use crate::job::Job;
use crate::network::Network;
use crate::record::MeasureRecord;
use crate::task::{Batch, BatchKey, Split};
use crate::usage::line;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use recurrent_core::ForwardContext;
use recurrent_train::Params;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;
use writer::MeasureWriter;

/// The measured lines, and the time they took.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct MeasureLog {
    pub(crate) lines: Vec<MeasureRecord>,
    /// Seconds by level.
    pub(crate) seconds: BTreeMap<String, f64>,
}

/// The network with its present weights in f64 on the CPU, whatever its dtype and device in
/// training.
struct F64Copy {
    network: Network,
    /// The weights of the recurrent layers, as variables.
    weights: Vec<(String, Tensor)>,
}

impl MeasureLog {
    /// Takes the measures of the job's level after `step` training steps.
    pub(crate) fn take(
        &mut self,
        job: &Job,
        network: &Network,
        params: &Params,
        step: u64,
    ) -> Result<()> {
        let copy = F64Copy::new(job, params)?;
        let mut writer = MeasureWriter::new(job, step);
        for level in Level::ALL.into_iter().filter(|level| *level <= job.config.training.measures) {
            let start = Instant::now();
            writer.level = level;
            match level {
                Level::Profiles => continue,
                Level::Gradients => gradients::measure(job, network, &copy, &mut writer)?,
                Level::Dynamics => dynamics::measure(job, &copy, &mut writer)?,
            }
            *self.seconds.entry(level.name().to_string()).or_default() +=
                start.elapsed().as_secs_f64();
        }
        self.lines.append(&mut writer.lines);
        Ok(())
    }
}

impl F64Copy {
    fn new(job: &Job, params: &Params) -> Result<Self> {
        let copy = |(name, var): (&str, &Var)| -> Result<(String, Tensor)> {
            let value = var.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
            Ok((name.to_string(), Var::from_tensor(&value)?.into_inner()))
        };
        let all = params.iter().map(copy).collect::<Result<Vec<_>>>()?;
        let vb = VarBuilder::from_tensors(all.iter().cloned().collect(), DType::F64, &Device::Cpu);
        let network =
            Network::new(job.variant, job.size(), job.task, job.config.training.readout, &vb)?;
        let weights = all.into_iter().filter(|(name, _)| name.starts_with("rnn")).collect();
        Ok(Self { network, weights })
    }
}

/// Batch `step` of the job in f64 on the CPU.
fn batch(job: &Job, split: Split, step: u64, count: usize) -> Result<Batch> {
    Ok(job.task.batch(
        BatchKey { split, seed: job.config.seed, step, batch: count },
        DType::F64,
        &Device::Cpu,
    )?)
}

/// The mean loss of a network on a batch.
fn loss(
    job: &Job,
    network: &Network,
    batch: &Batch,
    context: &ForwardContext,
) -> candle_core::Result<Tensor> {
    let outputs = network.forward(&batch.xs, context)?;
    let judged = job
        .task
        .evaluate(&outputs, batch)
        .map_err(|error| candle_core::Error::msg(line(&error)))?;
    judged.losses.mean_all()
}

/// Lags up to `most`: 1, 2, 5, 10, 20, 50 and so on, and `most` itself.
fn lags(most: usize) -> Vec<usize> {
    let decades = (0..).map(|power| 10usize.pow(power));
    let mut lags: Vec<_> = decades
        .flat_map(|ten| [1, 2, 5].map(|digit| digit * ten))
        .take_while(|&lag| lag < most)
        .collect();
    lags.push(most.max(1));
    lags
}

#[cfg(test)]
mod tests {
    use super::lags;

    #[test]
    fn lags_are_spread_over_the_sequence() {
        assert_eq!(lags(100), [1, 2, 5, 10, 20, 50, 100]);
        assert_eq!(lags(30), [1, 2, 5, 10, 20, 30]);
        assert_eq!((lags(1), lags(0)), (vec![1], vec![1]));
    }
}
