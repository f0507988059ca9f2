//! The normalised pre-activations that all cells share.

use crate::norm::{Normaliser, Param};
use crate::Scope;
use candle_core::{Result, Tensor};
use recurrent_core::init::Weights;
use recurrent_core::{GateWeights, Params};

/// The weights of the gates, and the normalisation of their pre-activations.
#[derive(Clone, Debug, Params)]
pub(crate) struct NormedGates {
    pub(crate) weights: GateWeights,
    #[param(skip)]
    pub(crate) normed: Normed,
    own: Vec<Param>, // (gates * hidden) each, in the order of `What::names`
}

/// The kind of normalisation, the part that it applies to, and its scope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normed {
    pub(crate) what: What,
    pub(crate) by: Normaliser,
    pub(crate) scope: Scope,
}

/// The part of the pre-activations that is normalised.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// The input part and the recurrent part, separately.
    Apart,
    /// The input part alone, with a bias inside the normalisation.
    InputAlone,
    /// The sum of both.
    Together,
}

impl What {
    /// The weights of the normalisation.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Apart => &["gain_ih", "gain_hh"],
            Self::InputAlone => &["gain_ih", "bias_inside"],
            Self::Together => &["gain"],
        }
    }

    /// The number of the gates' weights.
    pub(crate) fn count(self, gates: usize, input: usize, hidden: usize) -> usize {
        GateWeights::count(gates, input, hidden, true) + self.names().len() * gates * hidden
    }
}

impl NormedGates {
    /// The weights for `input` features, with gains initialised to `gain`.
    pub(crate) fn new(weights: &Weights, input: usize, gain: f64, normed: Normed) -> Result<Self> {
        let gates = GateWeights::new(weights, input, true)?;
        let rows = gates.weight_hh.dim(0)?;
        let own = |name: &&str| {
            Param::new(weights, name, rows, if name.starts_with("gain") { gain } else { 0.0 })
        };
        let own = normed.what.names().iter().map(own).collect::<Result<_>>()?;
        Ok(Self { weights: gates, normed, own })
    }

    /// The pre-activations of the input and of the recurrent part, `(batch, gates * hidden)` each.
    ///
    /// ```text
    /// separate       LN(W_ih x) ∘ gain_ih + b_ih                 LN(W_hh h) ∘ gain_hh + b_hh
    /// input only     LN(W_ih x + b_inside) ∘ gain_ih + b_ih      W_hh h + b_hh
    /// sum            LN(W_ih x + W_hh h) ∘ gain + b_ih           b_hh
    /// ```
    pub(crate) fn parts(&self, x: &Tensor, h: &Tensor) -> Result<(Tensor, Tensor)> {
        let (b_ih, b_hh) = self.biases();
        let of_x = x.matmul(&self.weights.weight_ih.t()?)?;
        let of_h = h.matmul(&self.weights.weight_hh.t()?)?;
        match self.normed.what {
            What::Apart => Ok((
                self.normalised(&of_x, 0)?.broadcast_add(b_ih)?,
                self.normalised(&of_h, 1)?.broadcast_add(b_hh)?,
            )),
            What::InputAlone => {
                let of_x = of_x.broadcast_add(&self.own[1].value)?;
                Ok((self.normalised(&of_x, 0)?.broadcast_add(b_ih)?, of_h.broadcast_add(b_hh)?))
            }
            What::Together => {
                let both = self.normalised(&(of_x + of_h)?, 0)?.broadcast_add(b_ih)?;
                let b_hh = b_hh.broadcast_as(both.shape())?;
                Ok((both, b_hh))
            }
        }
    }

    /// The sum of both parts, `(batch, gates * hidden)`.
    pub(crate) fn sum(&self, x: &Tensor, h: &Tensor) -> Result<Tensor> {
        let (a, b) = self.parts(x, h)?;
        a + b
    }

    fn biases(&self) -> (&Tensor, &Tensor) {
        let GateWeights { bias_ih, bias_hh, .. } = &self.weights;
        bias_ih.as_ref().zip(bias_hh.as_ref()).expect("normalised gates are built with biases")
    }

    fn normalised(&self, v: &Tensor, gain: usize) -> Result<Tensor> {
        let (by, gain) = (self.normed.by, &self.own[gain].value);
        match self.normed.scope {
            Scope::Whole => by.whole(v, gain),
            Scope::PerGate => by.by_gate(v, gain, self.weights.hidden_size()),
        }
    }
}
