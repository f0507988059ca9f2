//! The kinds of connection around a layer, and how they join its output with its input.

use crate::inference::{flat, transposed, InferenceJoin, InferenceKind};
use candle_core::{bail, Result, Tensor};
use candle_nn::ops::sigmoid;
use candle_nn::{Init, VarBuilder};
use recurrent_core::description::{Additions, Builder, Value};
use recurrent_core::{init, Equations, LayerId};
use serde::{Deserialize, Serialize};

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
pub(crate) struct Join {
    projection: Option<Tensor>, // (output, input)
    kind: Kind,
    names: Vec<String>, // of the projection, then of the weights of the kind
}

enum Kind {
    Additive,
    Highway { weight: Tensor, bias: Tensor }, // (output, input), (output)
    ReZero { alpha: Tensor },                 // (1)
}

impl Join {
    pub(crate) fn new(
        shortcut: Shortcut,
        input: usize,
        output: usize,
        layer_id: LayerId,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let mut names = Vec::new();
        let mut name = |under: &str, base: &str| {
            let name = format!("{base}{}", layer_id.suffix());
            names.push(format!("{under}.{name}"));
            name
        };
        let mut matrix =
            |under: &str| init::linear_weight(input, output, &name(under, "weight"), &vb.pp(under));
        let projection = if input == output { None } else { Some(matrix("proj")?) };
        let kind = match shortcut {
            Shortcut::Additive => Kind::Additive,
            Shortcut::Highway { bias } if !bias.is_finite() => {
                bail!("highway bias: expected a finite number, got {bias}")
            }
            Shortcut::Highway { bias } => {
                let (under, begins) = ("transform", Init::Const(bias));
                let weight = matrix(under)?;
                let bias = vb.pp(under).get_with_hints(output, &name(under, "bias"), begins)?;
                Kind::Highway { weight, bias }
            }
            Shortcut::ReZero => {
                let under = "rezero";
                let alpha =
                    vb.pp(under).get_with_hints(1, &name(under, "alpha"), Init::Const(0.0))?;
                Kind::ReZero { alpha }
            }
        };
        Ok(Self { projection, kind, names })
    }

    /// Joins `ys`, `(batch, time, output)`, with `xs`, `(batch, time, input)`. Zero where both are
    /// zero.
    pub(crate) fn join(&self, ys: &Tensor, xs: &Tensor) -> Result<Tensor> {
        let around = match &self.projection {
            None => xs.clone(),
            Some(weight) => xs.broadcast_matmul(&weight.t()?)?,
        };
        match &self.kind {
            Kind::Additive => ys + around,
            Kind::Highway { weight, bias } => {
                // (batch, time, output)
                let t = sigmoid(&xs.broadcast_matmul(&weight.t()?)?.broadcast_add(bias)?)?;
                (&t * ys)? + ((1.0 - &t)? * around)?
            }
            Kind::ReZero { alpha } => around + ys.broadcast_mul(alpha)?,
        }
    }

    /// The same as data, from `input` to `output` features.
    pub(crate) fn graph(&self, input: usize, output: usize) -> Result<Equations> {
        let weights = self.params();
        let shapes: Vec<_> =
            weights.iter().map(|(name, weight)| (name.clone(), weight.dims().to_vec())).collect();
        let additions = Additions::default();
        let graph =
            Builder::describe("connection", input, &[output], &shapes, additions, |cell| {
                self.describe(cell)
            })?;
        Ok(Equations { graph, weights })
    }

    fn describe<'a>(&self, cell: &'a Builder) -> Vec<Value<'a>> {
        let (xs, ys) = (cell.input(), cell.state(0));
        let (projection, names) = self.names.split_at(usize::from(self.projection.is_some()));
        let around = projection.first().map_or(xs, |name| cell.product(name, xs));
        vec![match self.kind {
            Kind::Additive => ys + around,
            Kind::Highway { .. } => {
                let t = (cell.product(&names[0], xs) + cell.weight(&names[1])).sigmoid();
                t * ys + (1.0 - t) * around
            }
            Kind::ReZero { .. } => around + ys * cell.weight(&names[0]),
        }]
    }

    /// The same on slices.
    pub(crate) fn to_inference(&self) -> Result<InferenceJoin> {
        let kind = match &self.kind {
            Kind::Additive => InferenceKind::Additive,
            Kind::Highway { weight, bias } => {
                InferenceKind::Highway { weight: transposed(weight)?, bias: flat(bias)? }
            }
            Kind::ReZero { alpha } => InferenceKind::ReZero { alpha: flat(alpha)?[0] },
        };
        Ok(InferenceJoin {
            projection: self.projection.as_ref().map(transposed).transpose()?,
            kind,
        })
    }

    pub(crate) fn params(&self) -> Vec<(String, Tensor)> {
        let own = match &self.kind {
            Kind::Additive => Vec::new(),
            Kind::Highway { weight, bias } => vec![weight.clone(), bias.clone()],
            Kind::ReZero { alpha } => vec![alpha.clone()],
        };
        self.names.iter().cloned().zip(self.projection.iter().cloned().chain(own)).collect()
    }
}
