//! Why does my network not learn? A diagnosis of one's own network from a few ordinary training steps.
//!
//! A [`BatchRecorder`] goes into the forward call in the place of the pass, the loss and the gradients into [`Diagnosis::add_batch`]; nothing else
//! changes. The [`DiagnosisReport`] has the findings as data, with the numbers they rest on and what to try, and writes them in words.
//!
//! ```
//! use candle::{DType, Device, Module, Result, Tensor};
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
//! | [`CutGraph`](FindingKind::CutGraph) | a parameter without a gradient in every batch | any | what has a backward pass |
//! | [`Unreached`](FindingKind::Unreached) | a layer ran, and dL/ds_t is absent or zero at every step | any | the same |
//! | [`ExplodesAlongTime`](FindingKind::ExplodesAlongTime) | largest g(k) over g at the loss | [`EXPLODED`] | clip, orthogonal |
//! | [`VanishesAlongTime`](FindingKind::VanishesAlongTime) | g at the needed lag over g at the end, of c where there is one | [`VANISHED`], [`LOST`] | chrono; gates, orthogonal, residual-time |
//! | [`EndsAlongTime`](FindingKind::EndsAlongTime) | g is zero within the needed lag, and not [`TINY`] before | any | longer windows |
//! | [`Underflows`](FindingKind::Underflows) | zero or subnormal elements within the needed lag, g being [`TINY`] | [`UNDERFLOWED`] | as what vanishes |
//! | [`ExplodesAlongDepth`](FindingKind::ExplodesAlongDepth) | norm of all steps over the top layer's | 1 / [`DEPTH`] | clip, layernorm |
//! | [`VanishesAlongDepth`](FindingKind::VanishesAlongDepth) | norm of all steps over the top layer's | [`DEPTH`] | residual |
//! | [`ShutGate`](FindingKind::ShutGate) | i: what the gates let into an empty memory; o: where it is most open; f: its mean, if g vanishes along time | [`SHUT`], in [`MOST`] units | biases, chrono |
//! | [`SaturatedState`](FindingKind::SaturatedState) | values out of tanh: h, or h / o of an LSTM, if g vanishes along time | [`SATURATED`], [`MOST`] values | scale, orthogonal |
//! | [`DeadUnits`](FindingKind::DeadUnits) | standard deviation of a unit's output, all examples and steps | [`STILL`], of [`DEAD`] units | biases, learning rate |
//! | [`ZeroGradient`](FindingKind::ZeroGradient) | a parameter's gradient exactly zero in every batch | any | the layers' findings |
//! | [`ShortSequences`](FindingKind::ShortSequences) | no sequence is as long as the needed lag | any | longer sequences |
//!
//! g(k) is the norm of dL/ds_{T-k}, as in [`Profile`](crate::Profile): the median over examples, and here over batches. A forget gate near 1 is no finding:
//! it is what keeps a gradient. Zeros behind a scale that is itself still zero, as in ReZero at its start, are none either.
//!
//! What it does not see:
//!
//! - Where the loss reads every step, as that of a language model does, every state has a gradient from a loss nearby, and g(k) does not fall. Read
//!   the last steps alone for the diagnosis.
//! - Norms say that a gradient arrives, not that it says the right thing. A network without a finding may still not learn.
//! - Two networks whose passes have the same places, such as an encoder and a decoder, are taken for one: give the second
//!   `recorder.pass().above(depth of the first)`.
//! - Gates are seen of cells that name them: [`recurrent_core::Cell::gates`].

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
use candle::backprop::GradStore;
use candle::{bail, Result, Tensor};
use curve::{BatchProfile, GradientCurve, LayerGradients};
use parameters::{values, ParameterGradients};
use recurrent_core::{ActivationRecorder, ForwardContext, GradientRecorder, LayerId, Record};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use suggestions::{Advice, Recurrence};
use units::UnitActivity;

/// Collects what a few batches show, and says what is wrong. See [the module](self) for an example.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    needed: usize,
    batches: usize,
    fields: BTreeMap<LayerId, Vec<(&'static str, Vec<BatchProfile>)>>,
    units: BTreeMap<LayerId, UnitActivity>,
    gradients: ParameterGradients,
}

/// Watches one batch on its way through the network and back.
#[derive(Debug)]
pub struct BatchRecorder {
    recorder: GradientRecorder,
    activations: ActivationRecorder,
}

impl BatchRecorder {
    /// The pass for the forward call: an evaluation, as in `layer.run(&xs, None, &recorder.pass())`.
    pub fn context(&self) -> ForwardContext<'_> {
        self.attach(ForwardContext::default())
    }

    /// A pass of one's own, such as a training step's, watched.
    pub fn attach<'a>(&'a self, context: ForwardContext<'a>) -> ForwardContext<'a> {
        context.record(&self.recorder).activations(&self.activations)
    }
}

impl Diagnosis {
    /// Of a network whose data needs lags up to `needed` steps: how far back the inputs lie that an answer depends on.
    pub fn new(needed: usize) -> Self {
        let (fields, units) = (BTreeMap::new(), BTreeMap::new());
        Self { needed, batches: 0, fields, units, gradients: ParameterGradients::default() }
    }

    /// A watch for the next batch.
    pub fn recorder(&self) -> BatchRecorder {
        BatchRecorder {
            recorder: GradientRecorder::new(Record::Norms),
            activations: ActivationRecorder::default(),
        }
    }

    /// Takes what `watch` saw of one batch, once `loss.backward()` has run. The loss should be a mean over examples.
    ///
    /// # Errors
    /// If no recurrent layer ran with this watch's pass, the loss is not one number, or parameters cannot be read.
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
            bail!("diagnosis watch: expected recurrent layers run with its pass, got none")
        }
        for seen in &seen {
            self.units.entry(seen.layer_id).or_default().take(seen)?;
        }
        for trace in recorder.recorder.take() {
            let fields = self.fields.entry(trace.layer_id).or_default();
            match fields.iter_mut().find(|(field, _)| *field == trace.field) {
                Some((_, seen)) => seen.push(BatchProfile::of(&trace)),
                None => fields.push((trace.field, vec![BatchProfile::of(&trace)])),
            }
        }
        let mut params = params.named()?;
        params.sort_by(|(left, _), (right, _)| left.cmp(right));
        self.gradients.take(self.batches, loss, grads, &params)?;
        self.batches += 1;
        Ok(())
    }

    /// What is wrong, the worst first, and what was measured.
    pub fn report(&self) -> DiagnosisReport {
        let ways = self.ways();
        let mut findings = self.gradients.findings();
        for way in &ways {
            findings.extend(self.of_layer(way, source(&ways, way.layer_id)));
        }
        for reverse in [false, true] {
            let one: Vec<_> =
                ways.iter().filter(|way| way.layer_id.reverse == reverse && reached(way)).collect();
            findings.extend(along_depth::findings(&one));
        }
        let steps = ways.iter().flat_map(|way| &way.courses).map(GradientCurve::steps).max();
        findings.extend(steps.and_then(|steps| along_time::short(steps, self.needed)));
        findings.sort_by_key(|finding| (Reverse(finding.severity), finding.kind, finding.layer_id));
        let layers = ways.iter().flat_map(|way| self.measures(way, &ways)).collect();
        DiagnosisReport { needed: self.needed, batches: self.batches, findings, layers }
    }

    /// All layers that ran, bottom first, also those without a gradient.
    fn ways(&self) -> Vec<LayerGradients> {
        let places: BTreeSet<_> = self.units.keys().chain(self.fields.keys()).collect();
        let courses = |layer_id| {
            let fields = self.fields.get(layer_id).into_iter().flatten();
            fields.filter_map(|(_, seen)| GradientCurve::of(seen)).collect()
        };
        places
            .into_iter()
            .map(|layer_id| LayerGradients { layer_id: *layer_id, courses: courses(layer_id) })
            .collect()
    }

    fn of_layer(&self, way: &LayerGradients, source: f64) -> Vec<Finding> {
        let units = self.units.get(&way.layer_id);
        let setting = LayerContext {
            needed: self.needed,
            memory: units.map_or(Recurrence::Plain, UnitActivity::memory),
            dead: units.is_some_and(|units| units.dead() > MOST),
            saturated: units.is_some_and(UnitActivity::saturated),
            source,
        };
        let along_time = match reached(way) {
            true => along_time::findings(way, setting),
            false if self.gradients.opening() => Vec::new(),
            false => vec![unreached()],
        };
        let vanishes =
            along_time.iter().any(|finding| finding.kind == FindingKind::VanishesAlongTime);
        let units = units.map_or(Vec::new(), |units| units.findings(vanishes));
        along_time.into_iter().chain(units).map(|finding| finding.at(way.layer_id)).collect()
    }

    fn measures(&self, way: &LayerGradients, ways: &[LayerGradients]) -> Vec<LayerMeasures> {
        let units = self.units.get(&way.layer_id);
        let top =
            ways.iter().rfind(|top| top.layer_id.reverse == way.layer_id.reverse).unwrap_or(way);
        let of = |course: &GradientCurve| {
            let above = top.courses.iter().find(|above| above.part == course.part);
            LayerMeasures {
                layer_id: Some(way.layer_id),
                part: course.part.to_string(),
                decay: course.fit().map(|fit| fit.decay),
                horizon: course.horizon(),
                left: course.share(self.needed.min(course.steps())),
                strength: course.strength() / above.map_or(f64::NAN, GradientCurve::strength),
                dead: units.map_or(0.0, UnitActivity::dead),
                gates: units.map_or(Vec::new(), UnitActivity::gates),
            }
        };
        way.courses.iter().map(of).collect()
    }
}

/// Whether any gradient came back into the layer.
fn reached(way: &LayerGradients) -> bool {
    way.broken().is_some() || way.strength() > 0.0
}

/// The norm of the gradient where the loss reads: that of the output of the top layer that runs in the direction of `place`.
fn source(ways: &[LayerGradients], layer_id: LayerId) -> f64 {
    let top = ways.iter().rfind(|way| way.layer_id.reverse == layer_id.reverse);
    top.and_then(|way| way.courses.first()).map_or(0.0, GradientCurve::start)
}

fn unreached() -> Finding {
    let why = "The layer ran, and the loss's gradient with respect to its states is absent or zero at every step: the graph is cut between the \
               layer and the loss, or what lies between them is shut or dead, or all its weights are frozen.";
    Finding::new(FindingKind::Unreached, Severity::Severe, why.to_string()).advice(Advice::CutGraph)
}
