//! What to try, and where its effect was measured.

use super::finding::Try;

/// How a layer remembers, which decides what helps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// By a gate that keeps the state.
    Gated,
    /// By its recurrent matrix alone, as far as one can see.
    Plain,
}

/// A remedy whose effect was measured, in this section of the claims.
fn attempt(remedy: &str, does: &str, section: &str) -> Try {
    let evidence = Some(format!("docs/claims.md#{section}"));
    Try { evidence, ..unmeasured(remedy, does) }
}

/// A remedy that follows from what the finding is.
fn unmeasured(remedy: &str, does: &str) -> Try {
    Try { remedy: remedy.to_string(), does: does.to_string(), evidence: None }
}

pub(super) fn vanishes_along_time(memory: Memory) -> Vec<Try> {
    let residual = attempt(
        "residual-time",
        "h' = h + α step(h): the state is carried on as it is",
        "residual-time",
    );
    let attention =
        attempt("attention", "a way of one step from the loss to every state", "attention");
    let norm = attempt(
        "layernorm",
        "keeps gates and states away from the flat parts; too small a gain does harm",
        "layer-norm-gain",
    );
    let clip =
        attempt("clip", "NOT for this: clipping never enlarges a gradient", "clipping-vanishing");
    match memory {
        Memory::Gated => vec![
            attempt("chrono", "time constants spread up to the longest lag", "forget-gate"),
            attempt(
                "forget-bias=1",
                "or more: a forget gate near 1 keeps the gradient, one near 0 ends it",
                "forget-gate",
            ),
            norm,
            attention,
            clip,
        ],
        Memory::Plain => vec![
            attempt(
                "gru, lstm",
                "a gate that keeps the state, with chrono for lags beyond some ten steps",
                "gates",
            ),
            attempt(
                "orthogonal",
                "a recurrent matrix that keeps every norm, but for the slope of tanh",
                "initialisation",
            ),
            residual,
            attention,
            clip,
        ],
    }
}

pub(super) fn explodes_along_time(memory: Memory) -> Vec<Try> {
    let weights = match memory {
        Memory::Gated => attempt(
            "forget-bias=1",
            "or chrono: memory cells that do not add up without end",
            "forget-gate",
        ),
        Memory::Plain => {
            attempt("orthogonal", "a recurrent matrix of spectral radius 1", "initialisation")
        }
    };
    vec![
        attempt(
            "clip",
            "bounds the step, here to the size that training has without explosions",
            "clipping-exploding",
        ),
        weights,
        unmeasured("layernorm", "bounds what goes around"),
    ]
}

pub(super) fn ends_along_time() -> Vec<Try> {
    vec![
        attempt(
            "truncate",
            "longer windows, at least as long as the lags, or none",
            "truncated-bptt",
        ),
        attempt(
            "attention",
            "reads states beyond the window, if they are not detached",
            "attention",
        ),
    ]
}

pub(super) fn underflows(memory: Memory) -> Vec<Try> {
    let keep = match memory {
        Memory::Gated => attempt("chrono", "a gradient that does not fall so low", "forget-gate"),
        Memory::Plain => {
            attempt("orthogonal", "a gradient that does not fall so low", "initialisation")
        }
    };
    vec![
        keep,
        unmeasured("f64", "moves the end from 1e-38 to 1e-308; the optimiser gains nothing by it"),
    ]
}

pub(super) fn vanishes_along_depth() -> Vec<Try> {
    vec![
        attempt(
            "residual",
            "a way around every layer; it does nothing along time",
            "residual-depth",
        ),
        unmeasured(
            "layernorm",
            "keeps every layer's activations at the size where its derivative is",
        ),
        unmeasured("fewer layers", "one or two recurrent layers are enough for most tasks"),
    ]
}

pub(super) fn explodes_along_depth() -> Vec<Try> {
    vec![
        attempt("clip", "bounds the step", "clipping-exploding"),
        unmeasured("orthogonal", "matrices that keep norms"),
        unmeasured("layernorm", "bounds what each layer hands on"),
    ]
}

pub(super) fn shut_keeper() -> Vec<Try> {
    vec![
        attempt("chrono", "time constants spread up to the longest lag", "forget-gate"),
        attempt(
            "forget-bias=1",
            "a forget gate of 0.73 at the start, instead of one near 0",
            "forget-gate",
        ),
    ]
}

pub(super) fn shut_input() -> Vec<Try> {
    vec![
        unmeasured("biases", "that of the gate to 0; chrono sets −b of the forget gate, no less"),
        unmeasured("layernorm=0.1", "keeps the gate's argument near its bias"),
    ]
}

pub(super) fn shut_output() -> Vec<Try> {
    vec![
        unmeasured("biases", "that of the gate to 0"),
        unmeasured("layernorm=0.1", "keeps the gate's argument near its bias"),
    ]
}

pub(super) fn saturated() -> Vec<Try> {
    vec![
        unmeasured("scale", "inputs of variance 1, and smaller initial weights"),
        unmeasured("orthogonal", "a recurrent matrix that does not enlarge the state"),
        attempt(
            "chrono",
            "for an LSTM: an input gate of 1 − f, so that c does not add up without end",
            "forget-gate",
        ),
        unmeasured("layernorm=0.1", "keeps the argument of tanh small"),
    ]
}

pub(super) fn dead_units(zero: bool) -> Vec<Try> {
    match zero {
        true => vec![
            unmeasured("biases", "to 0: a unit that is off for every input gets no gradient to come back by"),
            unmeasured("lr", "a smaller one: one large step can push a ReLU unit off for good"),
            unmeasured("tanh", "or a gated cell, which is nowhere exactly flat"),
        ],
        false => vec![
            unmeasured(
                "scale",
                "inputs of variance 1; look for layers that are saturated, or get nothing from below",
            ),
            unmeasured("layernorm", "keeps every layer's activations at the size where they vary"),
        ],
    }
}

pub(super) fn cut_graph() -> Vec<Try> {
    vec![
        unmeasured(
            "layer_norm_slow",
            "candle_nn::ops::layer_norm_slow, or recurrent-layernorm: both have a backward pass",
        ),
        unmeasured("no detach()", "between these parameters and the loss"),
    ]
}

pub(super) fn zero_gradient() -> Vec<Try> {
    vec![
        unmeasured("see above", "the layers' findings, which come first on the way back"),
        unmeasured(
            "leave out",
            "parameters that the batches do not use, from what the diagnosis is given",
        ),
    ]
}

pub(super) fn not_finite() -> Vec<Try> {
    vec![
        attempt(
            "clip",
            "before the step, if the gradients grow until they overflow",
            "clipping-exploding",
        ),
        unmeasured("lr", "a smaller one, if it happens after some steps"),
        unmeasured("inputs", "look for NaN in the batch, a logarithm of 0, a division by 0"),
    ]
}

pub(super) fn short_sequences() -> Vec<Try> {
    vec![unmeasured("longer batches", "sequences at least as long as the longest lag")]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a diagnosis may advise.
    fn all() -> Vec<Try> {
        let memories = [Memory::Gated, Memory::Plain];
        let by_memory = [vanishes_along_time, explodes_along_time, underflows];
        let others = [
            ends_along_time,
            vanishes_along_depth,
            explodes_along_depth,
            shut_keeper,
            shut_input,
            shut_output,
            saturated,
            cut_graph,
            zero_gradient,
            not_finite,
            short_sequences,
        ];
        let mut all: Vec<Try> = others.iter().flat_map(|tries| tries()).collect();
        all.extend(by_memory.iter().flat_map(|tries| memories.map(*tries)).flatten());
        all.extend([true, false].map(dead_units).into_iter().flatten());
        all
    }

    #[test]
    fn every_list_of_remedies_is_looked_at() {
        let lists = include_str!("remedies.rs").matches("-> Vec<Try> {").count();
        assert_eq!(lists - 2, 3 + 11 + 1, "a list that all() leaves out"); // but all() itself, and this line
    }

    /// A remedy whose effect was measured says where, and that section is there.
    #[test]
    fn pointers_lead_to_claims() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/claims.md");
        let document = std::fs::read_to_string(path).expect("the workspace's document");
        let mut pointers = 0;
        for advice in all() {
            let Some(evidence) = advice.evidence else { continue };
            let section = evidence.strip_prefix("docs/claims.md#").expect("in the document");
            assert!(
                document.contains(&format!("<a id=\"{section}\"></a>")),
                "{}: {section} is nowhere",
                advice.remedy
            );
            pointers += 1;
        }
        assert!(pointers > 15, "{pointers}");
    }
}
