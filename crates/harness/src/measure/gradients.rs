//! Measures that take some more backward passes.

use super::writer::{of, of_all, MeasureWriter};
use super::{batch, lags, loss, F64Copy};
use crate::error::Result;
use crate::job::Job;
use crate::network::Network;
use crate::task::{Batch, BatchKey, LossTarget, Split};
use candle_core::DType;
use recurrent_core::{
    Activations, ForwardContext, GradientRecorder, GradientTrace, Layer, LayerId, Record,
};
use recurrent_measures::{
    block_spectra, carousel, depth, gates, gradient_noise, gradients_from_traces, long_range_share,
    omega, rank, shadow, truncation, Applicable, Objective, Trajectory,
};

/// The number of held-out examples; they are those of the profiles.
const EXAMPLES: usize = 32;

/// The number of training batches whose gradients are compared: the first four of the run.
const BATCHES: u64 = 4;

pub(super) fn measure(
    job: &Job,
    network: &Network,
    copy: &F64Copy,
    writer: &mut MeasureWriter,
) -> Result<()> {
    let held = batch(job, Split::Test, 0, EXAMPLES)?;
    let on_held = |context: &ForwardContext| loss(job, &copy.network, &held, context);
    let objective = objective(job, copy, &on_held);
    let (seen, traces) = (objective.observations()?, objective.traces(Record::Gradients)?);
    spectra(copy.network.rnn(), writer)?;
    gate_use(&seen, writer)?;
    carousels(&seen, &traces, writer)?;
    ranks(&seen, writer)?;
    kept_norms(copy, &held, &traces, writer)?;
    shares(job, &objective, writer)?;
    shadows(job, network, &traces, writer)?;
    along_depth(&objective, writer)?;
    noise(job, copy, writer)
}

fn objective<'a>(
    job: &Job,
    copy: &'a F64Copy,
    loss: &'a dyn Fn(&ForwardContext) -> candle_core::Result<candle_core::Tensor>,
) -> Objective<'a> {
    let reads = match job.task.loss_target() {
        LossTarget::Last => recurrent_measures::LossReads::Ends,
        LossTarget::Every => recurrent_measures::LossReads::Steps,
    };
    Objective { loss, weights: &copy.weights, depth: copy.network.rnn().depth(), reads }
}

fn spectra(layer: &dyn Layer, writer: &mut MeasureWriter) -> Result<()> {
    let blocks = block_spectra(layer)?;
    if blocks.is_empty() {
        writer.none(of_all("spectral-radius"), "this layer shows no recurrent blocks");
    }
    for block in blocks {
        writer.one(of_all("spectral-radius").part(&block.name), block.radius);
        writer.one(of_all("largest-singular-value").part(&block.name), block.largest);
        writer.one(of_all("smallest-singular-value").part(&block.name), block.smallest);
    }
    Ok(())
}

fn gate_use(seen: &[Activations], writer: &mut MeasureWriter) -> Result<()> {
    for layer in gates(seen)? {
        let found = match layer.gates {
            Applicable::Value(found) => found,
            Applicable::NotApplicable(why) => {
                writer.none(of("gate-mean", layer.layer_id), &why);
                continue;
            }
        };
        for gate in found {
            let about = |measure| of(measure, layer.layer_id).part(&gate.name);
            writer.one(about("gate-mean"), gate.mean);
            writer.one(about("gate-shut"), gate.left);
            writer.one(about("gate-open"), gate.right);
            writer.one(about("gate-slope"), gate.slope);
            if let Some(memory) = &gate.retention {
                writer.one(about("time-constant"), memory.linear.median);
                writer.one(about("time-constant-exponential"), memory.exponential.median);
            }
        }
    }
    Ok(())
}

fn carousels(
    seen: &[Activations],
    traces: &[GradientTrace],
    writer: &mut MeasureWriter,
) -> Result<()> {
    for layer in carousel(seen, traces)? {
        let found = match layer.carousel {
            Applicable::Value(found) => found,
            Applicable::NotApplicable(why) => {
                writer.none(of("carousel", layer.layer_id), &why);
                continue;
            }
        };
        let about = |measure| of(measure, layer.layer_id).part(&found.field);
        let by_lag = |values: &[f64]| {
            found.lag.iter().copied().zip(values.iter().copied()).collect::<Vec<_>>()
        };
        writer.curve(about("carousel-log-product"), "lag", by_lag(&found.log_product));
        writer.curve(about("carousel"), "lag", by_lag(&found.alone));
        writer.curve(about("carousel-measured"), "lag", by_lag(&found.measured));
        writer.curve(about("carousel-other-paths"), "lag", by_lag(&found.rest));
    }
    Ok(())
}

fn ranks(seen: &[Activations], writer: &mut MeasureWriter) -> Result<()> {
    for field in rank(seen, &[])? {
        let about = |measure| of(measure, field.layer_id).part(&field.field);
        let why = "the state does not vary";
        writer.maybe(about("effective-rank"), field.pooled.participation, why);
        writer.maybe(about("effective-rank-entropy"), field.pooled.entropy, why);
        writer.maybe(about("rank-saturation"), field.pooled.saturation, why);
        writer.one(about("still-units"), field.still.len() as f64);
    }
    Ok(())
}

/// Ω, for a single forward layer over sequences of one length.
fn kept_norms(
    copy: &F64Copy,
    held: &Batch,
    traces: &[GradientTrace],
    writer: &mut MeasureWriter,
) -> Result<()> {
    let layer = copy.network.rnn();
    let one_place = traces.iter().all(|trace| trace.layer_id == LayerId::default());
    let even = traces.iter().all(|trace| trace.lengths.iter().all(|&len| len + 1 == trace.lags()));
    if !one_place || !even || layer.reversed_size() > 0 {
        writer.none(
            of_all("omega-paper"),
            "it is defined for one forward layer over sequences of one length",
        );
        return Ok(());
    }
    let trajectory = Trajectory::new(layer, &held.xs, None)?
        .with_derivative(recurrent_measures::Derivative::Either);
    let found = omega(&trajectory, &gradients_from_traces(traces)?)?;
    writer.one(of_all("omega-paper"), found.paper);
    writer.one(of_all("omega-code"), found.code);
    Ok(())
}

fn shares(job: &Job, objective: &Objective, writer: &mut MeasureWriter) -> Result<()> {
    let length = job.task.length();
    let found = long_range_share(objective, &lags(length.saturating_sub(1)))?;
    let share = found.shares.iter().filter_map(|one| Some((one.lag, one.all.share?)));
    writer.curve(of_all("long-range-share"), "lag", share);
    let cosine = found.shares.iter().filter_map(|one| Some((one.lag, one.all.cosine?)));
    writer.curve(of_all("long-range-cosine"), "lag", cosine);
    let found = truncation(objective, &lags(length))?;
    let bias = found.iter().filter_map(|one| Some((one.window, one.all.bias?)));
    writer.curve(of_all("truncation-bias"), "window", bias);
    let cosine = found.iter().filter_map(|one| Some((one.window, one.all.cosine?)));
    writer.curve(of_all("truncation-cosine"), "window", cosine);
    Ok(())
}

/// The loss of information in f32: gradients in the dtype of training beside those in f64.
fn shadows(
    job: &Job,
    network: &Network,
    copy: &[GradientTrace],
    writer: &mut MeasureWriter,
) -> Result<()> {
    let dtype = job.config.training.dtype;
    if dtype != DType::F32 {
        writer.none(of_all("lost-to-underflow"), "the network trains in f64");
        return Ok(());
    }
    let draw = BatchKey { split: Split::Test, seed: job.config.seed, step: 0, batch: EXAMPLES };
    let held = job.task.batch(draw, dtype, &job.device)?;
    let recorder = GradientRecorder::new(Record::Gradients);
    loss(job, network, &held, &ForwardContext::default().record(&recorder))?.backward()?;
    for field in shadow(&recorder.take(), copy)? {
        let about = |measure| of(measure, field.layer_id).part(&field.field);
        let lags = || field.lags.iter().enumerate();
        let share = |count: usize, elements: usize| count as f64 / elements.max(1) as f64;
        let lost = lags()
            .map(|(lag, one)| (lag, share(one.lost_zeros + one.lost_subnormals, one.elements)));
        writer.curve(about("lost-to-underflow"), "lag", lost);
        let unfit = lags().map(|(lag, one)| (lag, share(one.nans + one.infinities, one.elements)));
        writer.curve(about("not-finite"), "lag", unfit);
        let first = field.first.lost.map(|lag| lag as f64);
        writer.maybe(about("first-lag-lost"), first, "nothing is lost to underflow");
        writer.one(about("largest-error-of-norms"), field.error);
    }
    Ok(())
}

fn along_depth(objective: &Objective, writer: &mut MeasureWriter) -> Result<()> {
    let found = depth(objective)?;
    for layer in &found.layers {
        let about = |measure| of(measure, layer.layer_id).part(&layer.field);
        writer.one(about("gradient-at-end"), layer.end);
        writer.one(about("gradient-pooled"), layer.pooled);
        let decay = layer.decay.map(|fit| fit.decay);
        writer.maybe(about("decay"), decay, "too few lags above 1e-30, or a norm is not finite");
    }
    if found.along_depth.is_empty() {
        writer.none(of_all("bottom-over-top"), "there is a single layer");
    }
    for one in &found.along_depth {
        let about = of("bottom-over-top", LayerId { layer: 0, reverse: one.reverse });
        writer.maybe(about.part("pooled"), one.pooled, "the top layer has no gradient");
        writer.maybe(about.part("weights"), one.weights, "the top layer has no gradient");
    }
    Ok(())
}

fn noise(job: &Job, copy: &F64Copy, writer: &mut MeasureWriter) -> Result<()> {
    let batches = (0..BATCHES)
        .map(|step| batch(job, Split::Train, step, EXAMPLES))
        .collect::<Result<Vec<_>>>()?;
    let losses: Vec<_> = batches
        .iter()
        .map(|batch| move |context: &ForwardContext| loss(job, &copy.network, batch, context))
        .collect();
    let objectives: Vec<_> = losses.iter().map(|loss| objective(job, copy, loss)).collect();
    let found = gradient_noise(&objectives)?;
    for field in &found.states {
        let about = |measure| of(measure, field.layer_id).part(&field.field);
        let lags = || field.lags.iter().enumerate();
        writer.curve(
            about("gradient-snr"),
            "lag",
            lags().filter_map(|(lag, one)| Some((lag, one.snr?))),
        );
        let agreement = lags().filter_map(|(lag, one)| Some((lag, one.agreement?)));
        writer.curve(about("gradient-agreement"), "lag", agreement);
    }
    writer.maybe(of_all("weight-gradient-agreement"), found.all, "a batch has no gradient");
    Ok(())
}
