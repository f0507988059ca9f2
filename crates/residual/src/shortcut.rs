//! The kinds of connection around a layer, and how they join its output with its input.

use candle_core::{bail, DType, Device, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use recurrent_core::description::{Additions, Builder, Graph, StepInput, Value};
use recurrent_core::{init, Engine, Equations, InferenceLayer, LayerId, StepMasks};
use recurrent_kernels::Kernel;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How a connection around a layer joins the input `xs` and the outputs `layer(xs)` at every step.
/// P is the identity if the sizes are equal, and a learned projection if they differ.
///
/// | kind | ys |
/// |---|---|
/// | additive | layer(xs) + P xs |
/// | highway | t ∘ layer(xs) + (1 − t) ∘ P xs with t = σ(W_t xs + b_t) |
/// | ReZero | P xs + α layer(xs) |
///
/// | weight | kind | shape | initial value |
/// |---|---|---|---|
/// | `proj.weight_l0` | any, where the sizes differ | `(output, input)` | U(−1/√input, 1/√input), as `torch.nn.Linear` |
/// | `transform.weight_l0` | highway | `(output, input)` | the same |
/// | `transform.bias_l0` | highway | `(output)` | `bias` |
/// | `rezero.alpha_l0` | ReZero | `(1)` | 0 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortcut {
    /// Adds the input (He et al. 2016, arXiv:1512.03385v1; between LSTM layers Wu et al. 2016,
    /// arXiv:1609.08144v2, equation 6).
    #[default]
    Additive,
    /// A learned gate, the transform gate t, weighs the outputs, and 1 − t the input (Srivastava,
    /// Greff and Schmidhuber 2015, arXiv:1505.00387v2, equation 3, whose carry gate is 1 − t). The
    /// paper has no projection; it changes sizes by a layer without a connection. The highway LSTM
    /// of Zhang et al. (2016, arXiv:1510.08983v2) is another network: its gates join the cell
    /// states c of neighbouring layers.
    Highway {
        /// The initial value of b_t. The paper takes −1 to −3, so that the gradient first flows
        /// around the layer.
        bias: f64,
    },
    /// A learned number α scales the outputs. It is 0 at first: the layer starts as P, and α alone
    /// has a gradient (Bachlechner et al. 2020, arXiv:2003.04887v2, equation 1).
    #[serde(rename = "rezero")]
    ReZero,
}

impl Shortcut {
    /// The highway connection with an initial bias of −1 on its transform gate.
    pub fn highway() -> Self {
        Self::Highway { bias: -1.0 }
    }

    /// The number of weights that the connection adds to a layer of these sizes.
    pub fn param_count(self, input: usize, output: usize) -> usize {
        let projection = if input == output { 0 } else { input * output };
        projection
            + match self {
                Self::Additive => 0,
                Self::Highway { .. } => output * (input + 1),
                Self::ReZero => 1,
            }
    }
}

/// A connection with its weights.
#[derive(Clone)]
pub(crate) struct Join {
    shortcut: Shortcut,
    equations: Equations,
}

impl Join {
    pub(crate) fn new(
        shortcut: Shortcut,
        input: usize,
        output: usize,
        layer_id: LayerId,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let mut weights = Vec::new();
        let mut add =
            |under: &str, base: &str, value: &dyn Fn(&str, &VarBuilder) -> Result<Tensor>| {
                let name = format!("{base}{}", layer_id.suffix());
                weights.push((format!("{under}.{name}"), value(&name, &vb.pp(under))?));
                Result::Ok(())
            };
        let matrix = |name: &str, vb: &VarBuilder| init::linear_weight(input, output, name, vb);
        if input != output {
            add("proj", "weight", &matrix)?;
        }
        match shortcut {
            Shortcut::Additive => {}
            Shortcut::Highway { bias } if !bias.is_finite() => {
                bail!("highway bias: expected a finite number, got {bias}")
            }
            Shortcut::Highway { bias } => {
                add("transform", "weight", &matrix)?;
                let begins = Init::Const(bias);
                add("transform", "bias", &|name, vb| vb.get_with_hints(output, name, begins))?;
            }
            Shortcut::ReZero => {
                add("rezero", "alpha", &|name, vb| vb.get_with_hints(1, name, Init::Const(0.0)))?;
            }
        }
        let shapes: Vec<_> =
            weights.iter().map(|(name, weight)| (name.clone(), weight.dims().to_vec())).collect();
        let graph =
            describe(shortcut, &shapes, input, output, |cell| (cell.input(), cell.state(0)))?;
        Ok(Self { shortcut, equations: Equations { graph, weights } })
    }

    /// The equations, from the input of the layer and, as the only field, its output.
    pub(crate) fn equations(&self) -> &Equations {
        &self.equations
    }

    /// Joins `ys`, `(batch, time, output)`, with `xs`, `(batch, time, input)`. Zero where both are
    /// zero.
    pub(crate) fn join(&self, ys: &Tensor, xs: &Tensor) -> Result<Tensor> {
        let Equations { graph, weights } = &self.equations;
        let weights: Vec<_> = weights.iter().map(|(_, weight)| weight.clone()).collect();
        let (xs, state) = (xs.flatten(0, 1)?, [ys.flatten(0, 1)?]); // each step is an example
        let input = StepInput { weights: &weights, x: &xs, state: &state, masked: None };
        graph.step(input)?.swap_remove(0).reshape(ys.shape())
    }

    /// The same on slices: from x and y side by side to their sum.
    pub(crate) fn to_inference(&self) -> Result<Arc<dyn InferenceLayer>> {
        let Equations { graph, weights } = &self.equations;
        let (shortcut, input, output) = (self.shortcut, graph.input, graph.fields[0]);
        let shapes: Vec<_> =
            graph.weight_names.iter().cloned().zip(graph.weights.iter().cloned()).collect();
        let kernel = Kernel::new("connection", &["h"], move |_| {
            describe(shortcut, &shapes, input + output, output, |cell| {
                let both = cell.input();
                (both.slice(0, input), both.slice(input, output))
            })
        });
        let single = |(_, weight): &(String, Tensor)| {
            weight.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()
        };
        let weights = weights.iter().map(single).collect::<Result<Vec<_>>>()?;
        let start = [Tensor::zeros((1, output), DType::F32, &Device::Cpu)?];
        match kernel.to_inference(&weights, &start, &StepMasks::default())? {
            Some(layer) => Ok(layer),
            None => bail!("connection: expected a kernel"),
        }
    }
}

/// The equations of a connection between the values that `ends` returns, x and y. `weights` are the
/// names and shapes of its weights, `output` the size of y.
fn describe(
    shortcut: Shortcut,
    weights: &[(String, Vec<usize>)],
    input: usize,
    output: usize,
    ends: impl Fn(&Builder) -> (Value<'_>, Value<'_>),
) -> Result<Graph> {
    Builder::describe("connection", input, &[output], weights, Additions::default(), |cell| {
        let (xs, ys) = ends(cell);
        let (projection, own) = weights.split_at(usize::from(xs.width() != ys.width()));
        let around = projection.first().map_or(xs, |(name, _)| cell.product(name, xs));
        vec![match shortcut {
            Shortcut::Additive => ys + around,
            Shortcut::Highway { .. } => {
                let t = (cell.product(&own[0].0, xs) + cell.weight(&own[1].0)).sigmoid();
                t * ys + (1.0 - t) * around
            }
            Shortcut::ReZero => around + ys * cell.weight(&own[0].0),
        }]
    })
}
