//! The conventions of other libraries, as data.
//!
//! | function | rows | layout | biases |
//! |---|---|---|---|
//! | [`pytorch`] | ours | ours | two |
//! | [`keras_rnn`], [`keras_lstm`] | i, f, c, o | transposed | one |
//! | [`keras_gru`] | z, r, h | transposed | two, on top of each other; reset after |
//! | [`keras_gru_reset_before`] | z, r, h | transposed | one |
//! | [`flax_lstm`] | a matrix for each gate | transposed | one, beside the recurrent kernels |
//! | [`flax_gru`] | a matrix for each gate | transposed | one, and one more for n |
//! | [`haste_lstm`], [`haste_layernorm_lstm`] | i, g, f, o | transposed | one |
//! | [`haste_gru`], [`haste_layernorm_gru`] | z, r, g | transposed | two |
//! | [`tfa_layernorm_lstm`] | i, f, c, o | transposed | one, and those of the norms |
//! | [`lasagne_lstm`], [`lasagne_gru`] | a matrix for each gate; z is 1 − ours | transposed | one |
//!
//! When a file does not fit, all of them are tried for the hint in the message.

use crate::{Absorbed, Convention, GateMapping, RowLayout, WeightMapping};
use serde_json::{json, Value};

/// PyTorch's names and layouts, which are ours: `weight_ih_l0`, `weight_hh_l1_reverse`,
/// `bias_ih_l0`, `weight_hr_l0`, of any number of layers, in one direction or two, with
/// projections. Weights that PyTorch does not have keep our names.
pub fn pytorch() -> Convention {
    Convention {
        name: "PyTorch".to_string(),
        source: "conventions::pytorch()".to_string(),
        rest: true,
        directions: [String::new(), "_reverse".to_string()],
        ..Convention::default()
    }
}

/// `keras.layers.SimpleRNN`: `kernel`, `recurrent_kernel`, `bias`.
pub fn keras_rnn() -> Convention {
    keras("Keras SimpleRNN", "keras_rnn", &["h"], &["h"], json!({"family": "vanilla"}))
}

/// `keras.layers.LSTM`.
pub fn keras_lstm() -> Convention {
    keras(
        "Keras LSTM",
        "keras_lstm",
        &LSTM,
        &["i", "f", "g", "o"],
        json!({"family": "lstm", "peepholes": false, "coupled": false, "proj": null}),
    )
}

/// `keras.layers.GRU` with `reset_after=True`, the default: `bias` is `(2, 3 * units)`, with the
/// input's bias on top.
pub fn keras_gru() -> Convention {
    let mut made = keras(
        "Keras GRU",
        "keras_gru",
        &GRU,
        &["z", "r", "n"],
        json!({"family": "gru", "reset": "after"}),
    );
    made.weights[2] = WeightMapping {
        ours: "bias_ih".to_string(),
        theirs: "bias".to_string(),
        row: Some(0),
        ..WeightMapping::default()
    };
    made.weights.push(WeightMapping {
        ours: "bias_hh".to_string(),
        theirs: "bias".to_string(),
        row: Some(1),
        ..WeightMapping::default()
    });
    made
}

/// `keras.layers.GRU` with `reset_after=False`.
pub fn keras_gru_reset_before() -> Convention {
    keras(
        "Keras GRU with reset_after=False",
        "keras_gru_reset_before",
        &GRU,
        &["z", "r", "n"],
        json!({"family": "gru", "reset": "before"}),
    )
}

/// `flax.linen.LSTMCell` and `OptimizedLSTMCell`: `ii/kernel`, `hi/kernel`, `hi/bias`, and likewise
/// for f, g and o.
pub fn flax_lstm() -> Convention {
    Convention {
        weights: vec![
            transposed("weight_ih", "i{gate}/kernel"),
            transposed("weight_hh", "h{gate}/kernel"),
            absorbing("bias_hh", "h{gate}/bias", "bias_ih", &[]),
        ],
        ..new(
            "Flax LSTM",
            "flax_lstm",
            &LSTM,
            &same(&LSTM),
            json!({"family": "lstm", "peepholes": false, "coupled": false, "proj": null}),
        )
    }
}

/// `flax.linen.GRUCell`: `ir/kernel`, `ir/bias`, `hr/kernel`, and likewise for z and n; the only
/// recurrent bias is `hn/bias`.
pub fn flax_gru() -> Convention {
    Convention {
        weights: vec![
            transposed("weight_ih", "i{gate}/kernel"),
            transposed("weight_hh", "h{gate}/kernel"),
            absorbing("bias_ih", "i{gate}/bias", "bias_hh", &["n"]),
            WeightMapping { only: vec!["n".to_string()], ..plain_gates("bias_hh", "h{gate}/bias") },
        ],
        ..new("Flax GRU", "flax_gru", &GRU, &same(&GRU), json!({"family": "gru", "reset": "after"}))
    }
}

/// `haste_pytorch.LSTM`.
pub fn haste_lstm() -> Convention {
    Convention {
        weights: kernels(absorbing("bias_ih", "bias", "bias_hh", &[])),
        ..new(
            "haste LSTM",
            "haste_lstm",
            &LSTM,
            &HASTE_LSTM,
            json!({"family": "lstm", "peepholes": false, "coupled": false, "proj": null}),
        )
    }
}

/// `haste_pytorch.GRU`: z keeps the old state, the reset comes after the product.
pub fn haste_gru() -> Convention {
    Convention {
        weights: kernels_and(vec![
            plain_gates("bias_ih", "bias"),
            plain_gates("bias_hh", "recurrent_bias"),
        ]),
        ..new(
            "haste GRU",
            "haste_gru",
            &GRU,
            &HASTE_GRU,
            json!({"family": "gru", "reset": "after"}),
        )
    }
}

/// `haste_pytorch.LayerNormLSTM`: `gamma` is `(2, 4 * hidden)`, the gain of the input part on top;
/// `gamma_h` and `beta_h` belong to the cell state.
pub fn haste_layernorm_lstm() -> Convention {
    let gain = |ours: &str, row| WeightMapping { row: Some(row), ..plain_gates(ours, "gamma") };
    Convention {
        weights: kernels_and(vec![
            absorbing("bias_ih", "bias", "bias_hh", &[]),
            gain("gain_ih", 0),
            gain("gain_hh", 1),
            plain("gain_c", "gamma_h"),
            plain("bias_c", "beta_h"),
        ]),
        ..new(
            "haste LayerNormLSTM",
            "haste_layernorm_lstm",
            &LSTM,
            &HASTE_LSTM,
            json!({"family": "layernorm-lstm", "placement": "haste", "norm": "layer", "scope": "whole"}),
        )
    }
}

/// `haste_pytorch.LayerNormGRU`.
pub fn haste_layernorm_gru() -> Convention {
    let gain = |ours: &str, row| WeightMapping { row: Some(row), ..plain_gates(ours, "gamma") };
    Convention {
        weights: kernels_and(vec![
            plain_gates("bias_ih", "bias"),
            plain_gates("bias_hh", "recurrent_bias"),
            gain("gain_ih", 0),
            gain("gain_hh", 1),
        ]),
        ..new(
            "haste LayerNormGRU",
            "haste_layernorm_gru",
            &GRU,
            &HASTE_GRU,
            json!({"family": "layernorm-gru", "norm": "layer", "scope": "whole"}),
        )
    }
}

/// `tfa.rnn.LayerNormLSTMCell`: a Keras LSTM with `kernel_norm`, `recurrent_norm` and `state_norm`.
pub fn tfa_layernorm_lstm() -> Convention {
    Convention {
        weights: kernels_and(vec![
            plain_gates("bias", "bias"),
            plain_gates("gain_ih", "kernel_norm/gamma"),
            plain_gates("bias_ih", "kernel_norm/beta"),
            plain_gates("gain_hh", "recurrent_norm/gamma"),
            plain_gates("bias_hh", "recurrent_norm/beta"),
            plain("gain_c", "state_norm/gamma"),
            plain("bias_c", "state_norm/beta"),
        ]),
        ..new(
            "TensorFlow Addons LayerNormLSTMCell",
            "tfa_layernorm_lstm",
            &LSTM,
            &same(&LSTM),
            json!({"family": "layernorm-lstm", "placement": "tf-addons", "norm": "layer", "scope": "whole"}),
        )
    }
}

/// `lasagne.layers.LSTMLayer` without peepholes: `W_in_to_ingate`, `W_hid_to_ingate`, `b_ingate`,
/// and likewise for forgetgate, cell and outgate.
pub fn lasagne_lstm() -> Convention {
    let gates = [("i", "ingate"), ("f", "forgetgate"), ("g", "cell"), ("o", "outgate")];
    Convention {
        weights: lasagne(&[]),
        ..new(
            "Lasagne LSTM",
            "lasagne_lstm",
            &LSTM,
            &gates,
            json!({"family": "lstm", "peepholes": false, "coupled": false, "proj": null}),
        )
    }
}

/// `lasagne.layers.GRULayer`: its update gate lets the *new* in, so z is 1 − ours; the reset comes
/// after the product, without its own bias.
pub fn lasagne_gru() -> Convention {
    let mut made = new(
        "Lasagne GRU",
        "lasagne_gru",
        &GRU,
        &[("r", "resetgate"), ("z", "updategate"), ("n", "hidden_update")],
        json!({"family": "gru", "reset": "after"}),
    );
    made.weights = lasagne(&["n"]);
    made.gates[1].negated = true;
    made
}

/// All of them.
pub fn all() -> Vec<Convention> {
    vec![
        pytorch(),
        keras_rnn(),
        keras_lstm(),
        keras_gru(),
        keras_gru_reset_before(),
        flax_lstm(),
        flax_gru(),
        haste_lstm(),
        haste_gru(),
        haste_layernorm_lstm(),
        haste_layernorm_gru(),
        tfa_layernorm_lstm(),
        lasagne_lstm(),
        lasagne_gru(),
    ]
}

const LSTM: [&str; 4] = ["i", "f", "g", "o"];
const GRU: [&str; 3] = ["r", "z", "n"];
const HASTE_LSTM: [(&str, &str); 4] = [("i", "i"), ("g", "g"), ("f", "f"), ("o", "o")];
const HASTE_GRU: [(&str, &str); 3] = [("z", "z"), ("r", "r"), ("n", "g")];

fn same<const N: usize>(names: &[&'static str; N]) -> [(&'static str, &'static str); N] {
    names.map(|name| (name, name))
}

/// A convention of these gates, ours and theirs in the order of each.
fn new(
    name: &str,
    function: &str,
    ours: &[&str],
    theirs: &[(&str, &str)],
    requires: Value,
) -> Convention {
    let gate = |(ours, theirs): &(&str, &str)| GateMapping {
        ours: ours.to_string(),
        theirs: theirs.to_string(),
        negated: false,
    };
    Convention {
        name: name.to_string(),
        source: format!("conventions::{function}()"),
        ours: ours.iter().map(|gate| gate.to_string()).collect(),
        gates: theirs.iter().map(gate).collect(),
        directions: ["forward".to_string(), "backward".to_string()],
        requires: requires.as_object().cloned().unwrap_or_default().into_iter().collect(),
        ..Convention::default()
    }
}

fn keras(
    name: &str,
    function: &str,
    ours: &[&str],
    theirs: &[&str],
    requires: Value,
) -> Convention {
    let theirs: Vec<_> = theirs.iter().map(|gate| (*gate, *gate)).collect();
    Convention {
        weights: kernels(absorbing("bias_ih", "bias", "bias_hh", &[])),
        ..new(name, function, ours, &theirs, requires)
    }
}

fn kernels(bias: WeightMapping) -> Vec<WeightMapping> {
    kernels_and(vec![bias])
}

fn kernels_and(others: Vec<WeightMapping>) -> Vec<WeightMapping> {
    [transposed("weight_ih", "kernel"), transposed("weight_hh", "recurrent_kernel")]
        .into_iter()
        .chain(others)
        .collect()
}

fn lasagne(apart: &[&str]) -> Vec<WeightMapping> {
    vec![
        transposed("weight_ih", "W_in_to_{gate}"),
        transposed("weight_hh", "W_hid_to_{gate}"),
        absorbing("bias_ih", "b_{gate}", "bias_hh", apart),
    ]
}

fn plain_gates(ours: &str, theirs: &str) -> WeightMapping {
    WeightMapping { ours: ours.to_string(), theirs: theirs.to_string(), ..WeightMapping::default() }
}

fn plain(ours: &str, theirs: &str) -> WeightMapping {
    WeightMapping { form: RowLayout::Plain, ..plain_gates(ours, theirs) }
}

fn transposed(ours: &str, theirs: &str) -> WeightMapping {
    WeightMapping { transposed: true, ..plain_gates(ours, theirs) }
}

fn absorbing(ours: &str, theirs: &str, other: &str, apart: &[&str]) -> WeightMapping {
    let absorbed = Absorbed {
        ours: other.to_string(),
        apart: apart.iter().map(|gate| gate.to_string()).collect(),
    };
    WeightMapping { absorbs: Some(absorbed), ..plain_gates(ours, theirs) }
}
