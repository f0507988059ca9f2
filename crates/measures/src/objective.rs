//! A network on a fixed batch, for the measures that run it.

use crate::vector::norm;
use candle_core::{bail, DType, Result, Tensor};
use recurrent_core::{
    ActivationRecorder, Activations, Bptt, ForwardContext, GradientRecorder, GradientTrace, Record,
};
use serde::{Deserialize, Serialize};

/// A closure that returns the loss of a network on a fixed batch, and the weights to examine.
///
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use recurrent_core::{Layer, ForwardContext, Sequence};
/// use recurrent_lstm::{Lstm, LstmConfig};
/// use recurrent_measures::{long_range_share, Objective, LossReads};
///
/// # fn main() -> Result<()> {
/// let vars = VarMap::new();
/// let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
/// let lstm = Lstm::new(1, 8, &LstmConfig::chrono(50), vb)?;
/// let xs = Sequence::new(Tensor::ones((4, 50, 1), DType::F64, &Device::Cpu)?)?;
/// let loss = |context: &ForwardContext| lstm.last(&xs, None, context)?.0.sqr()?.mean_all();
/// let mut weights = lstm.params();
/// weights.sort_by(|(a, _), (b, _)| a.cmp(b));
///
/// let (depth, reads) = (lstm.depth(), LossReads::Ends);
/// let objective = Objective { loss: &loss, weights: &weights, depth, reads };
/// for share in long_range_share(&objective, &[1, 10, 40])?.shares {
///     println!("made {} steps before the end or more: {:?}", share.lag, share.all.share);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Objective<'a> {
    /// Runs the network on the batch, every recurrent layer with the given context, and returns the
    /// loss, a scalar, the mean over the examples. It must return the same loss in every call.
    pub loss: &'a dyn Fn(&ForwardContext) -> Result<Tensor>,
    /// The weights to examine, which are variables, sorted by name.
    pub weights: &'a [(String, Tensor)],
    /// The number of recurrent layers in the stack: [`recurrent_core::Layer::depth`].
    pub depth: usize,
    /// The outputs that the loss reads.
    pub reads: LossReads,
}

/// The outputs of the network that a loss reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossReads {
    /// Only the last output of each direction, as [`recurrent_core::Layer::last`] returns it.
    Ends,
    /// Outputs of other steps too: a loss at every step, or a mean over time.
    Steps,
}

/// A weight's name, and its gradient.
type Named = (String, Vec<f64>);

/// The gradient of the loss with respect to each weight, by name, in f64; zeros for weights without
/// influence on the loss.
pub(crate) struct NamedGradients(pub(crate) Vec<Named>);

/// One backward pass: the gradients of the weights, and the traces of the recorder.
pub(crate) struct Backward {
    pub(crate) weights: NamedGradients,
    pub(crate) traces: Vec<GradientTrace>,
}

impl Objective<'_> {
    /// Runs forward and backward under `flow`.
    pub(crate) fn backward(&self, flow: Bptt, keep: Record) -> Result<Backward> {
        let recorder = GradientRecorder::new(keep);
        let loss = (self.loss)(&ForwardContext::default().bptt(flow).record(&recorder))?;
        if loss.elem_count() != 1 {
            bail!("objective loss: expected a scalar, got {:?}", loss.dims())
        }
        let grads = loss.backward()?;
        let gradient = |(name, weight): &(String, Tensor)| {
            if !weight.is_variable() {
                bail!("objective weights: expected variables, got {name}, a plain tensor")
            }
            let gradient = match grads.get(weight) {
                Some(gradient) => gradient.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?,
                None => vec![0.0; weight.elem_count()],
            };
            Ok((name.clone(), gradient))
        };
        let weights = self.weights.iter().map(gradient).collect::<Result<_>>()?;
        let traces = recorder.take();
        self.check_traces(&traces)?;
        Ok(Backward { weights: NamedGradients(weights), traces })
    }

    /// The traces of an ordinary backward pass.
    ///
    /// # Errors
    /// Those of the network; if a layer records nothing.
    pub fn traces(&self, keep: Record) -> Result<Vec<GradientTrace>> {
        Ok(self.backward(Bptt::default(), keep)?.traces)
    }

    /// The activations of an ordinary forward pass.
    ///
    /// # Errors
    /// Those of the network; if no layer records activations.
    pub fn observations(&self) -> Result<Vec<Activations>> {
        let activations = ActivationRecorder::default();
        (self.loss)(&ForwardContext::default().activations(&activations))?;
        let seen = activations.take();
        if seen.is_empty() {
            bail!(
                "objective: no layer recorded activations; the loss must pass its context to every \
                 layer"
            )
        }
        Ok(seen)
    }

    fn check_traces(&self, traces: &[GradientTrace]) -> Result<()> {
        let mut layers: Vec<_> = traces.iter().map(|trace| trace.layer_id.layer).collect();
        layers.dedup();
        if layers.len() != self.depth {
            bail!(
                "objective: expected traces of {} layers, got {layers:?}; the loss must pass its \
                 context to every layer, and a layer that is not built on `Rnn` must follow the \
                 context itself",
                self.depth
            )
        }
        let mut keys: Vec<_> = traces.iter().map(|trace| (trace.layer_id, trace.field)).collect();
        keys.sort_unstable();
        keys.dedup();
        if keys.len() != traces.len() {
            bail!(
                "objective: expected one trace for each layer, direction and field; the loss runs \
                 a layer more than once, or two layers with the same id"
            )
        }
        Ok(())
    }

    /// Refuses a network that ignores `flow`, as far as the traces without it (`free`) and with it
    /// (`under`) show.
    pub(crate) fn check_flow(
        &self,
        flow: Bptt,
        free: &[GradientTrace],
        under: &[GradientTrace],
    ) -> Result<()> {
        if free.len() != under.len() {
            bail!(
                "objective: expected {} traces under truncation, as without, got {}",
                free.len(),
                under.len()
            )
        }
        for (free, under) in free.iter().zip(under) {
            let what = format!("{}{}", under.field, under.layer_id.suffix());
            if self.reads == LossReads::Ends {
                if let Some(lag) = (0..under.lags()).find(|&lag| leaks(flow, under, lag)) {
                    bail!(
                        "objective: expected no gradient of {what} at lag {lag} under {:?}, got \
                         some: either a layer ignores `ForwardContext::bptt`, or something reads \
                         more than the ends, such as a reverse layer on top of another",
                        flow.truncation
                    )
                }
            } else if border(flow, under) && untouched(free, under) {
                bail!(
                    "objective: the gradient of {what} is the same with and without {:?}: either a \
                     layer ignores `ForwardContext::bptt`, or no gradient that this dtype resolves \
                     passes the border",
                    flow.truncation
                )
            }
        }
        Ok(())
    }
}

/// Whether a state at `lag`, before the last border, has a gradient nevertheless.
fn leaks(flow: Bptt, trace: &GradientTrace, lag: usize) -> bool {
    let behind = |len: usize| (len - lag..len).any(|t| flow.ends(t, len));
    let row = &trace.norms[lag * trace.batch..][..trace.batch];
    row.iter().zip(&trace.lengths).any(|(&norm, &len)| lag <= len && norm != 0.0 && behind(len))
}

/// Whether truncation cuts the gradient of some example.
fn border(flow: Bptt, trace: &GradientTrace) -> bool {
    trace.lengths.iter().any(|&len| (0..len).any(|t| flow.ends(t, len)))
}

/// Whether two traces have the same norms, not all of them zero.
fn untouched(free: &GradientTrace, under: &GradientTrace) -> bool {
    let bits =
        |trace: &GradientTrace| trace.norms.iter().map(|norm| norm.to_bits()).collect::<Vec<_>>();
    bits(free) == bits(under) && free.norms.iter().any(|&norm| norm > 0.0)
}

impl NamedGradients {
    /// All weights in one vector.
    pub(crate) fn flat(&self) -> Vec<f64> {
        self.0.iter().flat_map(|(_, gradient)| gradient.iter().copied()).collect()
    }

    /// The norm over all weights.
    pub(crate) fn norm(&self) -> f64 {
        norm(&self.flat())
    }

    /// This gradient minus the `other`, of the same weights.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let less = |((name, a), (_, b)): (&Named, &Named)| {
            (name.clone(), a.iter().zip(b).map(|(a, b)| a - b).collect())
        };
        Self(self.0.iter().zip(&other.0).map(less).collect())
    }
}
