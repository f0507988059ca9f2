//! The normalised pre-activations that all cells share.

use crate::norm::{Normaliser, Param};
use crate::Scope;
use candle_core::Result;
use recurrent_core::description::{Builder, Value};
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

    /// The pre-activations of the input and of the recurrent part of N gates.
    ///
    /// ```text
    /// separate       LN(W_ih x) ∘ gain_ih + b_ih                 LN(W_hh h) ∘ gain_hh + b_hh
    /// input only     LN(W_ih x + b_inside) ∘ gain_ih + b_ih      W_hh h + b_hh
    /// sum            LN(W_ih x + W_hh h) ∘ gain + b_ih           b_hh
    /// ```
    pub(crate) fn parts<'a, const N: usize>(
        &self,
        cell: &'a Builder,
        h: Value<'a>,
    ) -> [(Value<'a>, Value<'a>); N] {
        let of_x = cell.product("weight_ih", cell.input());
        let of_h = cell.product("weight_hh", h);
        let [b_ih, b_hh] = ["bias_ih", "bias_hh"].map(|name| cell.weight(name).chunks::<N>());
        let (of_x, of_h): ([_; N], [_; N]) = match self.normed.what {
            What::Apart => {
                (self.normalised(cell, of_x, "gain_ih"), self.normalised(cell, of_h, "gain_hh"))
            }
            What::InputAlone => {
                let inside = of_x + cell.weight("bias_inside");
                (self.normalised(cell, inside, "gain_ih"), of_h.chunks())
            }
            What::Together => {
                let sum = self.normalised::<N>(cell, of_x + of_h, "gain");
                return std::array::from_fn(|gate| (sum[gate] + b_ih[gate], b_hh[gate]));
            }
        };
        std::array::from_fn(|gate| (of_x[gate] + b_ih[gate], of_h[gate] + b_hh[gate]))
    }

    /// The sum of both parts.
    pub(crate) fn sum<'a, const N: usize>(
        &self,
        cell: &'a Builder,
        h: Value<'a>,
    ) -> [Value<'a>; N] {
        self.parts(cell, h).map(|(a, b)| a + b)
    }

    /// The N gates of `v`, normalised, times the gain.
    fn normalised<'a, const N: usize>(
        &self,
        cell: &'a Builder,
        v: Value<'a>,
        gain: &str,
    ) -> [Value<'a>; N] {
        let (by, gain) = (self.normed.by, cell.weight(gain).chunks::<N>());
        let normed = match self.normed.scope {
            Scope::Whole => by.apply(v).chunks::<N>(),
            Scope::PerGate => v.chunks::<N>().map(|gate| by.apply(gate)),
        };
        std::array::from_fn(|gate| normed[gate] * gain[gate])
    }
}
