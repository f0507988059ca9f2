//! The suggestions of each finding, and where their effect was measured.

use super::finding::Suggestion;

/// How a layer keeps its state, which decides what helps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recurrence {
    /// By a gate on the previous state.
    Gated,
    /// By its recurrent matrix alone, as far as the diagnosis can see.
    Plain,
}

/// Defines an enum and `ALL`, the list of its variants.
macro_rules! enumerated {
    ($(#[$meta:meta])* $name:ident { $($variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name {
            $($variant),*
        }

        impl $name {
            /// Every list of suggestions.
            pub(super) const ALL: &[Self] = &[$(Self::$variant),*];
        }
    };
}

enumerated! {
    /// The lists of suggestions, one for each kind of fault.
    Advice {
        VanishesAlongTimeGated,
        VanishesAlongTimePlain,
        ExplodesAlongTimeGated,
        ExplodesAlongTimePlain,
        UnderflowsGated,
        UnderflowsPlain,
        EndsAlongTime,
        VanishesAlongDepth,
        ExplodesAlongDepth,
        ShutKeepGate,
        ShutInputGate,
        ShutOutputGate,
        Saturated,
        ZeroUnits,
        ConstantUnits,
        CutGraph,
        ZeroGradient,
        NotFinite,
        ShortSequences,
    }
}

/// Every suggestion that a diagnosis can make.
pub fn all_suggestions() -> Vec<Suggestion> {
    Advice::ALL.iter().flat_map(|advice| advice.suggestions()).collect()
}

/// A suggestion whose effect was measured, in this section of the claims.
fn measured(name: &str, effect: &str, section: &str) -> Suggestion {
    let evidence = Some(format!("docs/claims.md#{section}"));
    Suggestion { evidence, ..unmeasured(name, effect) }
}

/// A suggestion that follows from the finding itself.
fn unmeasured(name: &str, effect: &str) -> Suggestion {
    Suggestion { name: name.to_string(), effect: effect.to_string(), evidence: None }
}

impl Advice {
    pub(super) fn vanishes_along_time(recurrence: Recurrence) -> Self {
        match recurrence {
            Recurrence::Gated => Self::VanishesAlongTimeGated,
            Recurrence::Plain => Self::VanishesAlongTimePlain,
        }
    }

    pub(super) fn explodes_along_time(recurrence: Recurrence) -> Self {
        match recurrence {
            Recurrence::Gated => Self::ExplodesAlongTimeGated,
            Recurrence::Plain => Self::ExplodesAlongTimePlain,
        }
    }

    pub(super) fn underflows(recurrence: Recurrence) -> Self {
        match recurrence {
            Recurrence::Gated => Self::UnderflowsGated,
            Recurrence::Plain => Self::UnderflowsPlain,
        }
    }

    /// The suggestions, the most promising first.
    pub(super) fn suggestions(self) -> Vec<Suggestion> {
        match self {
            Self::VanishesAlongTimeGated => vec![
                chrono(),
                measured(
                    "forget-bias=1",
                    "or more: a forget gate near 1 keeps the gradient, one near 0 ends it",
                    "forget-gate",
                ),
                measured(
                    "layernorm",
                    "keeps gates and states off their flat ends; too small a gain does harm",
                    "layer-norm-gain",
                ),
                attention(),
                no_clip(),
            ],
            Self::VanishesAlongTimePlain => vec![
                measured(
                    "gru, lstm",
                    "a gate that keeps the state; chrono biases for lags beyond ten steps",
                    "gates",
                ),
                measured(
                    "orthogonal",
                    "a recurrent matrix that keeps every norm, up to the slope of tanh",
                    "initialisation",
                ),
                measured(
                    "residual-time",
                    "h' = h + α step(h): adds the previous state unchanged",
                    "residual-time",
                ),
                attention(),
                no_clip(),
            ],
            Self::ExplodesAlongTimeGated => vec![
                clip_explosion(),
                measured(
                    "forget-bias=1",
                    "or chrono: keeps the cell state from growing without bound",
                    "forget-gate",
                ),
                unmeasured("layernorm", "bounds the recurrent input"),
            ],
            Self::ExplodesAlongTimePlain => vec![
                clip_explosion(),
                measured("orthogonal", "a recurrent matrix of spectral radius 1", "initialisation"),
                unmeasured("layernorm", "bounds the recurrent input"),
            ],
            Self::UnderflowsGated => {
                vec![
                    measured("chrono", "slows the decay of the gradient", "forget-gate"),
                    f64_dtype(),
                ]
            }
            Self::UnderflowsPlain => {
                vec![
                    measured("orthogonal", "slows the decay of the gradient", "initialisation"),
                    f64_dtype(),
                ]
            }
            Self::EndsAlongTime => vec![
                measured(
                    "truncate",
                    "longer windows, at least as long as the lags, or no truncation",
                    "truncated-bptt",
                ),
                measured(
                    "attention",
                    "reads states beyond the window, if they are not detached",
                    "attention",
                ),
            ],
            Self::VanishesAlongDepth => vec![
                measured(
                    "residual",
                    "a shortcut around every layer; it does nothing along time",
                    "residual-depth",
                ),
                unmeasured("layernorm", "keeps activations where their derivative is large"),
                unmeasured("fewer layers", "one or two recurrent layers are enough for most tasks"),
            ],
            Self::ExplodesAlongDepth => vec![
                measured("clip", "bounds the step", "clipping-exploding"),
                unmeasured("orthogonal", "matrices that keep norms"),
                unmeasured("layernorm", "bounds the output of each layer"),
            ],
            Self::ShutKeepGate => vec![
                chrono(),
                measured(
                    "forget-bias=1",
                    "a forget gate of 0.73 at the start, instead of one near 0",
                    "forget-gate",
                ),
            ],
            Self::ShutInputGate => vec![
                unmeasured(
                    "biases",
                    "set the gate's to 0; chrono sets −b of the forget gate, no \
                           less",
                ),
                unmeasured("layernorm=0.1", "keeps the gate's argument near its bias"),
            ],
            Self::ShutOutputGate => vec![
                unmeasured("biases", "set the gate's to 0"),
                unmeasured("layernorm=0.1", "keeps the gate's argument near its bias"),
            ],
            Self::Saturated => vec![
                unmeasured("scale", "inputs of variance 1, and smaller initial weights"),
                unmeasured("orthogonal", "a recurrent matrix that does not enlarge the state"),
                measured(
                    "chrono",
                    "for an LSTM: an input gate of 1 − f keeps c from growing without bound",
                    "forget-gate",
                ),
                unmeasured("layernorm=0.1", "keeps the argument of tanh small"),
            ],
            Self::ZeroUnits => vec![
                unmeasured(
                    "biases",
                    "set to 0: a unit that is always off gets no gradient to recover",
                ),
                unmeasured(
                    "lr",
                    "a smaller one: a single large step can shut a ReLU unit off for good",
                ),
                unmeasured("tanh", "or a gated cell, which is nowhere exactly flat"),
            ],
            Self::ConstantUnits => vec![
                unmeasured(
                    "scale",
                    "inputs of variance 1; look for saturated layers, and for constant inputs",
                ),
                unmeasured("layernorm", "keeps the activations of every layer varying"),
            ],
            Self::CutGraph => vec![
                unmeasured(
                    "layer_norm_slow",
                    "candle_nn::ops::layer_norm_slow or recurrent-layernorm, which have a backward \
                    pass",
                ),
                unmeasured("no detach()", "between these parameters and the loss"),
            ],
            Self::ZeroGradient => vec![
                unmeasured("see above", "the findings of the layers are the cause"),
                unmeasured(
                    "leave out",
                    "parameters that the batches do not use, from the \
                           diagnosis",
                ),
            ],
            Self::NotFinite => vec![
                measured(
                    "clip",
                    "before the step, if the gradients grow until they overflow",
                    "clipping-exploding",
                ),
                unmeasured("lr", "a smaller one, if it happens after some steps"),
                unmeasured(
                    "inputs",
                    "look for NaN in the batch, a logarithm of 0, a division by \
                           0",
                ),
            ],
            Self::ShortSequences => {
                vec![unmeasured("longer batches", "sequences at least as long as the longest lag")]
            }
        }
    }
}

fn chrono() -> Suggestion {
    measured("chrono", "time constants spread up to the longest lag", "forget-gate")
}

fn attention() -> Suggestion {
    measured("attention", "a path of one step from the loss to every state", "attention")
}

fn clip_explosion() -> Suggestion {
    measured("clip", "bounds the step to its size without explosions", "clipping-exploding")
}

fn no_clip() -> Suggestion {
    measured("clip", "NOT for this: clipping never enlarges a gradient", "clipping-vanishing")
}

fn f64_dtype() -> Suggestion {
    unmeasured("f64", "moves the limit from 1e-38 to 1e-308; the optimiser gains nothing by it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_suggestions_and_most_of_them_are_measured() {
        for advice in Advice::ALL {
            assert!(!advice.suggestions().is_empty(), "{advice:?}");
        }
        let all = all_suggestions();
        let evidence: Vec<_> =
            all.iter().filter_map(|suggestion| suggestion.evidence.as_ref()).collect();
        assert!(
            evidence.iter().all(|evidence| evidence.starts_with("docs/claims.md#")),
            "{evidence:?}"
        );
        assert!(evidence.len() > 15, "{}", evidence.len());
    }
}
