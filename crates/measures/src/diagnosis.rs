//! Why does my network not learn? A diagnosis of any network from a few ordinary training steps.
//!
//! A [`BatchRecorder`] provides the context of the forward call; [`Diagnosis::add_batch`] takes the
//! loss and the gradients. Nothing else changes. The [`DiagnosisReport`] has the findings as data,
//! with their evidence and suggestions, and writes them in words.
//!
//! ```
//! use candle_core::{DType, Device, Module, Result, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use recurrent_core::{init, Layer, Sequence};
//! use recurrent_lstm::{Lstm, LstmConfig};
//! use recurrent_measures::diagnosis::{Diagnosis, FindingKind};
//!
//! # fn main() -> Result<()> {
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let lstm = Lstm::new(2, 16, &LstmConfig::forget_bias(-3.0), vb.pp("lstm"))?;
//! let readout = init::linear(16, 1, &vb.pp("readout"))?;
//!
//! let mut diagnosis = Diagnosis::new(40); // the data needs lags up to 40 steps
//! for batch in 0..2 {
//!     let xs = (0..8 * 50 * 2).map(|i| ((i + batch) as f32 * 0.7).sin());
//!     let xs = Tensor::from_iter(xs, &Device::Cpu)?.reshape((8, 50, 2))?; // (batch, time, input)
//!     let recorder = diagnosis.recorder();
//!     let (last, _) = lstm.last(&Sequence::new(xs)?, None, &recorder.context())?;
//!     let loss = readout.forward(&last)?.sqr()?.mean_all()?;
//!     diagnosis.add_batch(recorder, &loss, &loss.backward()?, &vars)?;
//! }
//! let report = diagnosis.report();
//! assert!(report.findings.iter().any(|finding| finding.kind == FindingKind::VanishesAlongTime));
//! println!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! | finding | rule | threshold | try |
//! |---|---|---|---|
//! | [`NotFinite`](FindingKind::NotFinite) | NaN or infinity in the loss, a gradient, dL/ds_t | any | clip, a smaller learning rate |
//! | [`CutGraph`](FindingKind::CutGraph) | a parameter without a gradient in every batch | any | operations with a backward pass |
//! | [`Unreached`](FindingKind::Unreached) | a layer ran, and dL/ds_t is absent or zero at every step | any | as for a cut graph |
//! | [`ExplodesAlongTime`](FindingKind::ExplodesAlongTime) | largest g(k) over g at the loss | [`EXPLODED`] | clip, orthogonal |
//! | [`VanishesAlongTime`](FindingKind::VanishesAlongTime) | g at the needed lag over g at the end, of c where there is one | [`VANISHED`], [`LOST`] | chrono; gates, orthogonal, residual-time |
//! | [`EndsAlongTime`](FindingKind::EndsAlongTime) | g is zero within the needed lag, and not [`TINY`] before | any | longer windows |
//! | [`Underflows`](FindingKind::Underflows) | zero or subnormal elements within the needed lag, g being [`TINY`] | [`UNDERFLOWED`] | as for vanishing |
//! | [`ExplodesAlongDepth`](FindingKind::ExplodesAlongDepth) | norm of all steps over the top layer's | 1 / [`DEPTH`] | clip, layernorm |
//! | [`VanishesAlongDepth`](FindingKind::VanishesAlongDepth) | norm of all steps over the top layer's | [`DEPTH`] | residual |
//! | [`ShutGate`](FindingKind::ShutGate) | i: the gates' input to an empty cell state; o: its maximum; f: its mean, if g vanishes along time | [`SHUT`], in [`MOST`] units | biases, chrono |
//! | [`SaturatedState`](FindingKind::SaturatedState) | values out of tanh: h, or h / o of an LSTM, if g vanishes along time | [`SATURATED`], [`MOST`] values | scale, orthogonal |
//! | [`DeadUnits`](FindingKind::DeadUnits) | standard deviation of a unit's output, all examples and steps | [`STILL`], of [`DEAD`] units | biases, learning rate |
//! | [`ZeroGradient`](FindingKind::ZeroGradient) | a parameter's gradient exactly zero in every batch | any | the layers' findings |
//! | [`ShortSequences`](FindingKind::ShortSequences) | no sequence is as long as the needed lag | any | longer sequences |
//!
//! g(k) is the norm of dL/ds_{T-k}, as in [`Profile`](crate::Profile): the median over examples,
//! and here over batches. A forget gate near 1 is not a finding, since it keeps the gradient. Nor
//! are zeros behind a scale that is still zero, as in ReZero at its start.
//!
//! Its limits:
//!
//! - If the loss reads every step, as in a language model, every state has a gradient from a loss
//!   nearby, and g(k) does not fall. Read only the last steps for the diagnosis.
//! - Norms show that a gradient arrives, not that its direction is useful. A network without
//!   findings may still not learn.
//! - Two networks whose layers have the same ids, such as an encoder and a decoder, are taken for
//!   one: give the second `recorder.context().offset_layer(depth of the first)`.
//! - The diagnosis sees the gates of cells that name them: [`recurrent_core::Cell::gates`].

mod along_depth;
mod along_time;
mod curve;
mod finding;
mod parameters;
mod report;
mod suggestions;
mod thresholds;
mod units;

pub use finding::{Evidence, Finding, FindingKind, Severity, Suggestion};
pub use parameters::NamedTensors;
pub use report::{DiagnosisReport, LayerMeasures};
pub use suggestions::all_suggestions;
pub use thresholds::{
    DEAD, DEPTH, EXPLODED, LOST, MOST, OVERWHELMED, SATURATED, SHUT, STILL, TINY, UNDERFLOWED,
    VANISHED,
};

use along_time::LayerContext;
use candle_core::backprop::GradStore;
use candle_core::{bail, Result, Tensor};
use curve::{BatchProfile, GradientCurve, LayerGradients};
use parameters::{values, ParameterGradients};
use recurrent_core::{ActivationRecorder, ForwardContext, GradientRecorder, LayerId, Record};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use suggestions::{Advice, Recurrence};
use units::UnitActivity;

/// Collects the activations and gradients of a few batches and reports faults. See [the
/// module](self) for an example.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    needed: usize,
    batches: usize,
    fields: BTreeMap<LayerId, Vec<(&'static str, Vec<BatchProfile>)>>,
    units: BTreeMap<LayerId, UnitActivity>,
    gradients: ParameterGradients,
}

/// Records the activations and gradients of one batch.
#[derive(Debug)]
pub struct BatchRecorder {
    recorder: GradientRecorder,
    activations: ActivationRecorder,
}

impl BatchRecorder {
    /// The context for the forward call: an evaluation, as in
    /// `layer.run(&xs, None, &recorder.context())`.
    pub fn context(&self) -> ForwardContext<'_> {
        self.attach(ForwardContext::default())
    }

    /// Attaches the recorder to another context, such as that of a training step.
    pub fn attach<'a>(&'a self, context: ForwardContext<'a>) -> ForwardContext<'a> {
        context.record(&self.recorder).activations(&self.activations)
    }
}

impl Diagnosis {
    /// The diagnosis of a network whose data needs lags up to `needed` steps, the largest distance
    /// between an answer and the inputs that it depends on.
    pub fn new(needed: usize) -> Self {
        let (fields, units) = (BTreeMap::new(), BTreeMap::new());
        Self { needed, batches: 0, fields, units, gradients: ParameterGradients::default() }
    }

    /// A recorder for the next batch.
    pub fn recorder(&self) -> BatchRecorder {
        BatchRecorder {
            recorder: GradientRecorder::new(Record::Norms),
            activations: ActivationRecorder::default(),
        }
    }

    /// Adds the record of one batch, after `loss.backward()`. The loss should be a mean over
    /// examples.
    ///
    /// # Errors
    /// If no recurrent layer ran with the recorder's context, the loss is not one number, or the
    /// parameters are empty or cannot be read.
    pub fn add_batch<P: NamedTensors + ?Sized>(
        &mut self,
        recorder: BatchRecorder,
        loss: &Tensor,
        grads: &GradStore,
        params: &P,
    ) -> Result<()> {
        let loss = match values(loss)?[..] {
            [loss] => loss,
            ref many => bail!("diagnosis loss: expected one number, got {}", many.len()),
        };
        let seen = recorder.activations.take();
        if seen.is_empty() {
            bail!(
                "diagnosis recorder: expected recurrent layers that ran with its context, got \
                  none"
            )
        }
        for seen in &seen {
            self.units.entry(seen.layer_id).or_default().add(seen)?;
        }
        for trace in recorder.recorder.take() {
            let fields = self.fields.entry(trace.layer_id).or_default();
            match fields.iter_mut().find(|(field, _)| *field == trace.field) {
                Some((_, seen)) => seen.push(BatchProfile::from_trace(&trace)),
                None => fields.push((trace.field, vec![BatchProfile::from_trace(&trace)])),
            }
        }
        let mut params = params.named()?;
        if params.is_empty() {
            bail!("diagnosis params: expected parameters, got none; build the layers first")
        }
        params.sort_by(|(left, _), (right, _)| left.cmp(right));
        self.gradients.add(self.batches, loss, grads, &params)?;
        self.batches += 1;
        Ok(())
    }

    /// The findings, the worst first, and the measurements.
    pub fn report(&self) -> DiagnosisReport {
        let layers = self.layer_gradients();
        let mut findings = self.gradients.findings();
        for layer in &layers {
            findings.extend(self.layer_findings(layer, source(&layers, layer.layer_id)));
        }
        for reverse in [false, true] {
            let one: Vec<_> = layers
                .iter()
                .filter(|layer| layer.layer_id.reverse == reverse && reached(layer))
                .collect();
            findings.extend(along_depth::findings(&one));
        }
        let steps = layers.iter().flat_map(|layer| &layer.curves).map(GradientCurve::steps).max();
        findings.extend(steps.and_then(|steps| along_time::short(steps, self.needed)));
        findings.sort_by_key(|finding| (Reverse(finding.severity), finding.kind, finding.layer_id));
        let layers = layers.iter().flat_map(|layer| self.measures(layer, &layers)).collect();
        DiagnosisReport { needed: self.needed, batches: self.batches, findings, layers }
    }

    /// All layers that ran, bottom first, including those without a gradient.
    fn layer_gradients(&self) -> Vec<LayerGradients> {
        let places: BTreeSet<_> = self.units.keys().chain(self.fields.keys()).collect();
        let curves = |layer_id| {
            let fields = self.fields.get(layer_id).into_iter().flatten();
            fields.filter_map(|(_, seen)| GradientCurve::new(seen)).collect()
        };
        places
            .into_iter()
            .map(|layer_id| LayerGradients { layer_id: *layer_id, curves: curves(layer_id) })
            .collect()
    }

    fn layer_findings(&self, layer: &LayerGradients, source: f64) -> Vec<Finding> {
        let units = self.units.get(&layer.layer_id);
        let setting = LayerContext {
            needed: self.needed,
            recurrence: units.map_or(Recurrence::Plain, UnitActivity::recurrence),
            dead: units.is_some_and(|units| units.dead() > MOST),
            saturated: units.is_some_and(UnitActivity::saturated),
            source,
        };
        let along_time = match reached(layer) {
            true => along_time::findings(layer, setting),
            false if self.gradients.opening() => Vec::new(),
            false => vec![unreached()],
        };
        let vanishes =
            along_time.iter().any(|finding| finding.kind == FindingKind::VanishesAlongTime);
        let units = units.map_or(Vec::new(), |units| units.findings(vanishes));
        along_time.into_iter().chain(units).map(|finding| finding.at(layer.layer_id)).collect()
    }

    fn measures(&self, layer: &LayerGradients, layers: &[LayerGradients]) -> Vec<LayerMeasures> {
        let units = self.units.get(&layer.layer_id);
        let top = layers
            .iter()
            .rfind(|top| top.layer_id.reverse == layer.layer_id.reverse)
            .unwrap_or(layer);
        let of = |curve: &GradientCurve| {
            let above = top.curves.iter().find(|above| above.part == curve.part);
            LayerMeasures {
                layer_id: Some(layer.layer_id),
                part: curve.part.to_string(),
                decay: curve.fit().map(|fit| fit.decay),
                horizon: curve.horizon(),
                left: curve.share(self.needed.min(curve.steps())),
                strength: curve.strength() / above.map_or(f64::NAN, GradientCurve::strength),
                dead: units.map_or(0.0, UnitActivity::dead),
                gates: units.map_or(Vec::new(), UnitActivity::gates),
            }
        };
        layer.curves.iter().map(of).collect()
    }
}

/// Whether the layer got any gradient.
fn reached(layer: &LayerGradients) -> bool {
    layer.broken().is_some() || layer.strength() > 0.0
}

/// The norm of the gradient at the loss: of the output of the top layer in the direction of
/// `layer_id`.
fn source(layers: &[LayerGradients], layer_id: LayerId) -> f64 {
    let top = layers.iter().rfind(|layer| layer.layer_id.reverse == layer_id.reverse);
    top.and_then(|layer| layer.curves.first()).map_or(0.0, GradientCurve::start)
}

fn unreached() -> Finding {
    let why =
        "The layer ran, and the loss's gradient with respect to its states is absent or zero \
              at every step: the graph is cut between the layer and the loss, or the layers \
              between them are shut or dead, or all its weights are frozen.";
    Finding::new(FindingKind::Unreached, Severity::Severe, why.to_string()).advice(Advice::CutGraph)
}
