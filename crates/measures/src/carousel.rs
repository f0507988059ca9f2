//! The gradient along the kept state alone, against the whole gradient.

use crate::gates::within;
use crate::profile::quantile;
use crate::state_gradients::{name, StateGradients};
use crate::vector::norm;
use crate::Applicable;
use candle_core::{bail, Result, Tensor};
use recurrent_core::{Activations, Gate, GradientTrace, LayerId};
use serde::{Deserialize, Serialize};

/// The carousel of one layer: the path on which a state is multiplied by its keep gate alone.
///
/// ```text
/// P(k) = Π_{t = T-k+1 .. T-r} f_t         elementwise: the scale of a gradient from lag r to lag k
/// a(k) = g(r) ∘ P(k)                      the gradient at lag r, scaled to lag k
/// g(k)                                    the gradient at lag k, dL/dc_{T-k} with h held fixed
/// g(k) − a(k)                             the gradient along all other paths: through h and the gates
/// ```
///
/// The constant error carousel of Hochreiter and Schmidhuber 1997; h-detach (Arpit et al. 2019,
/// arXiv:1810.03023) builds on the observation that the other paths can drown it. It shows whether
/// the gradient at lag k comes along the gates or along the recurrent weights, not which of the two
/// is useful.
///
/// r is the reference lag: 1 for c, whose partial derivative at the end is zero if the loss reads h
/// alone, and 0 if the kept state is the output (GRU). A loss that reads outputs of earlier steps
/// adds to g(k) at every step; that part counts among the other paths. So do zoneout and a residual
/// over time, which change the factor.
///
/// All norms are medians over examples of the norm of the example's own gradient, as in
/// [`crate::Profile`]; an example shorter than a lag does not count there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carousel {
    /// The kept field.
    pub field: String,
    /// The gate that keeps it.
    pub gate: String,
    /// The lags, from r to the length of the longest example.
    pub lag: Vec<usize>,
    /// The mean over examples and units of ln P(k): the logarithm of the geometric mean, which does
    /// not underflow. −∞ if a gate was fully shut, which JSON cannot write.
    pub log_product: Vec<f64>,
    /// ‖a(k)‖.
    pub alone: Vec<f64>,
    /// ‖g(k)‖.
    pub measured: Vec<f64>,
    /// ‖g(k) − a(k)‖.
    pub rest: Vec<f64>,
}

/// The carousel of one layer, in one direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerCarousel {
    /// Which layer, and which direction.
    pub layer_id: LayerId,
    /// Its carousel; does not apply to a cell without a named keep gate.
    pub carousel: Applicable<Carousel>,
}

impl Carousel {
    /// The geometric mean of P(k), by lag.
    pub fn product(&self) -> Vec<f64> {
        self.log_product.iter().map(|log| log.exp()).collect()
    }
}

/// The carousel of every layer and direction, from the activations and the traces (with gradients)
/// of one batch.
///
/// The kept field is the last field of the state with the width of the gate: c of an LSTM, h of a
/// GRU.
///
/// # Errors
/// If activations have no trace, or one without gradients or of another batch, and those of candle.
pub fn carousel(
    observations: &[Activations],
    traces: &[GradientTrace],
) -> Result<Vec<LayerCarousel>> {
    let layer = |seen: &Activations| {
        Ok(LayerCarousel { layer_id: seen.layer_id, carousel: of_layer(seen, traces)? })
    };
    observations.iter().map(layer).collect()
}

fn of_layer(seen: &Activations, traces: &[GradientTrace]) -> Result<Applicable<Carousel>> {
    let Some(gate) = seen.gates.iter().find(|gate| gate.keeps) else {
        return Ok(Applicable::NotApplicable(
            "this cell names no gate that keeps its state".to_string(),
        ));
    };
    let (_, _, width) = gate.values.dims3()?;
    let as_wide = |(_, states): &&(&'static str, Tensor)| states.dims().last() == Some(&width);
    let Some((field, _)) = seen.states.iter().rfind(as_wide) else {
        let why = format!("no field of the state is as wide as the gate {}", gate.name);
        return Ok(Applicable::NotApplicable(why));
    };
    let Some(trace) =
        traces.iter().find(|trace| (trace.layer_id, trace.field) == (seen.layer_id, *field))
    else {
        bail!("carousel: expected a trace of {field}{}, got none", seen.layer_id.suffix())
    };
    if trace.lengths != seen.lengths {
        bail!(
            "carousel: expected {} of {:?} steps, got {:?}",
            name(trace),
            seen.lengths,
            trace.lengths
        )
    }
    let reference = usize::from(seen.states.first().is_some_and(|(output, _)| output != field));
    along(gate, trace, reference).map(Applicable::Value)
}

/// The carousel of `gate` along the field of `trace`.
fn along(gate: &Gate, trace: &GradientTrace, reference: usize) -> Result<Carousel> {
    let factors = within(gate.name, &gate.values, &trace.lengths)?;
    let gradients = StateGradients::of(trace)?;
    let mut rest = &factors[..];
    let mut runs = Vec::new();
    for (row, &len) in trace.lengths.iter().enumerate() {
        let (own, others) = rest.split_at(len);
        runs.extend(ExampleCarousel::new(&gradients, row, reference, own));
        rest = others;
    }
    let mut found = Carousel {
        field: trace.field.to_string(),
        gate: gate.name.to_string(),
        lag: (reference..trace.lags()).collect(),
        log_product: Vec::new(),
        alone: Vec::new(),
        measured: Vec::new(),
        rest: Vec::new(),
    };
    for lag in reference..trace.lags() {
        runs.retain(|run| run.len() >= lag);
        let logs = runs.iter().map(|run| run.logs.iter().sum::<f64>()).sum::<f64>();
        found.log_product.push(logs / (runs.len() * gradients.size) as f64);
        let median = |of: &dyn Fn(&ExampleCarousel, &[f64]) -> f64| {
            let own = |run: &ExampleCarousel| {
                gradients.at(run.row, lag).map(|gradient| of(run, gradient))
            };
            let mut norms: Vec<_> =
                runs.iter().filter_map(own).map(|norm| norm * trace.batch as f64).collect();
            norms.sort_by(f64::total_cmp);
            quantile(&norms, 0.5)
        };
        found.alone.push(median(&|run, _| norm(&run.alone)));
        found.measured.push(median(&|_, gradient| norm(gradient)));
        found.rest.push(median(&|run, gradient| norm(&run.missing(gradient))));
        runs.iter_mut().for_each(|run| run.back(lag));
    }
    Ok(found)
}

/// The gradient of one example along the carousel.
struct ExampleCarousel<'a> {
    row: usize,
    factors: &'a [Vec<f64>], // by step
    alone: Vec<f64>,
    logs: Vec<f64>,
}

impl<'a> ExampleCarousel<'a> {
    /// At the reference lag; `None` if the example is shorter.
    fn new(
        gradients: &StateGradients,
        row: usize,
        reference: usize,
        factors: &'a [Vec<f64>],
    ) -> Option<Self> {
        let alone = gradients.at(row, reference)?.to_vec();
        Some(Self { row, factors, logs: vec![0.0; alone.len()], alone })
    }

    fn len(&self) -> usize {
        self.factors.len()
    }

    /// The part of `gradient` that came along other paths.
    fn missing(&self, gradient: &[f64]) -> Vec<f64> {
        gradient.iter().zip(&self.alone).map(|(all, alone)| all - alone).collect()
    }

    /// Moves from `lag` to the next, through the step that computed the state at `lag`.
    fn back(&mut self, lag: usize) {
        let Some(step) = (self.len() - lag).checked_sub(1) else { return };
        for ((alone, log), factor) in
            self.alone.iter_mut().zip(&mut self.logs).zip(&self.factors[step])
        {
            *alone *= factor;
            *log += factor.ln();
        }
    }
}
