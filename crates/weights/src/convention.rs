//! How another library names and lays out the weights of a recurrent layer, as data.

use candle_core::{bail, Result};
use recurrent_core::LayerId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How another library names and lays out the weights of a recurrent layer.
///
/// It is data: write one in JSON, or start from one of [`crate::conventions`]. Names are templates:
/// `{layer}` and `{direction}` stand for the names in [`Convention::layers`] and
/// [`Convention::directions`], `{gate}` for the name of a gate if each gate has its own tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Convention {
    /// Its name in messages: `Keras LSTM`.
    pub name: String,
    /// The Rust expression for it: `conventions::keras_lstm()`.
    pub source: String,
    /// The gates in the order of our rows: `["i", "f", "g", "o"]`. Empty if their rows have our
    /// order.
    pub ours: Vec<String>,
    /// The same gates in the order of theirs.
    pub gates: Vec<GateMapping>,
    /// Their tensors.
    pub weights: Vec<WeightMapping>,
    /// Whether weights that [`Convention::weights`] does not list have our name and our layout
    /// there.
    pub rest: bool,
    /// The prefix of every name, with its separator: `encoder.`.
    pub prefix: String,
    /// The names for `{layer}`, bottom first. If empty, `{layer}` is the number of the layer.
    pub layers: Vec<String>,
    /// The names for `{direction}`, forward and in reverse.
    pub directions: [String; 2],
    /// The options of a cell with these equations, for callers that know cells.
    pub requires: BTreeMap<String, Value>,
}

/// A gate of theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateMapping {
    /// Our name: `g`.
    pub ours: String,
    /// Its name for `{gate}`.
    pub theirs: String,
    /// Whether it is 1 minus ours: σ(−a) = 1 − σ(a), so all its weights change their sign. Not for
    /// normalised weights.
    pub negated: bool,
}

/// One of our weights, and its place among theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightMapping {
    /// The name of ours without layer and direction: `weight_ih`.
    pub ours: String,
    /// The template of theirs: `{layer}/kernel`.
    pub theirs: String,
    /// The meaning of its rows.
    pub form: RowLayout,
    /// Whether theirs is `(input, gates * hidden)`.
    pub transposed: bool,
    /// Its row in theirs, if theirs stacks several of ours, as Keras's `(2, 3 * hidden)` does.
    pub row: Option<usize>,
    /// The gates that have a tensor, if each gate has its own and some have no tensor; ours is zero
    /// in the others.
    pub only: Vec<String>,
    /// The weight of ours that theirs includes as a sum.
    pub absorbs: Option<Absorbed>,
}

/// Another of our weights that theirs includes as a sum: import sets it to zero, export adds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Absorbed {
    /// Our name: `bias_hh`.
    pub ours: String,
    /// Gates in which the two are not simply added: b_hn of a GRU, which the reset gate multiplies.
    /// In these gates export needs zeros, unless the weight is also listed by itself.
    pub apart: Vec<String>,
}

/// The meaning of the rows of a weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowLayout {
    /// One block for each gate, in the order of the gates.
    #[default]
    Gates,
    /// Something else, which keeps its order.
    Plain,
}

impl Convention {
    /// The same with `prefix` before every name, literally: `encoder.`, or `{layer}/`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.prefix = prefix.to_string();
        self
    }

    /// The same with these names for `{layer}`, bottom first.
    #[must_use]
    pub fn with_layers<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.layers = names.into_iter().map(Into::into).collect();
        self
    }

    /// The same with these names for `{direction}`.
    #[must_use]
    pub fn with_directions(mut self, forward: &str, reverse: &str) -> Self {
        self.directions = [forward.to_string(), reverse.to_string()];
        self
    }

    /// Checks that both sides name the same gates and that no weight is listed twice.
    pub(crate) fn validate(&self) -> Result<()> {
        let name = &self.name;
        let theirs: BTreeSet<_> = self.gates.iter().map(|gate| &gate.ours).collect();
        let once = theirs.len() == self.gates.len() && self.ours.len() == self.gates.len();
        if !once || theirs != self.ours.iter().collect() {
            bail!(
                "convention {name}: expected the same gates on both sides, got {:?} and {:?}",
                self.ours,
                self.gates
            )
        }
        for (index, weight) in self.weights.iter().enumerate() {
            if self.weights[..index].iter().any(|other| other.ours == weight.ours) {
                bail!("convention {name}: '{}' is listed twice", weight.ours)
            }
            let apart = weight.absorbs.iter().flat_map(|absorbed| &absorbed.apart);
            if let Some(gate) =
                weight.only.iter().chain(apart).find(|gate| !self.ours.contains(gate))
            {
                bail!("convention {name}, '{}': there is no gate {gate:?}", weight.ours)
            }
            if weight.row.is_some() && (weight.by_gate() || weight.transposed) {
                bail!(
                    "convention {name}, '{}': a row of a stack cannot be transposed or split by \
                    gates",
                    weight.ours
                )
            }
        }
        Ok(())
    }

    pub(crate) fn weight(&self, base: &str) -> Option<&WeightMapping> {
        self.weights.iter().find(|weight| weight.ours == base)
    }

    /// Whether another weight of theirs includes this one of ours as a sum.
    pub(crate) fn absorbed(&self, base: &str) -> bool {
        self.weights
            .iter()
            .filter_map(|weight| weight.absorbs.as_ref())
            .any(|absorbed| absorbed.ours == base)
    }

    /// A template at a place.
    pub(crate) fn fill(&self, template: &str, place: LayerId, gate: &str) -> Result<String> {
        let layer = match self.layers.get(place.layer) {
            Some(layer) => layer.clone(),
            None if self.layers.is_empty() => place.layer.to_string(),
            None => bail!(
                "convention {}: there are names for {} layers, expected one for layer {}",
                self.name,
                self.layers.len(),
                place.layer
            ),
        };
        let direction = &self.directions[usize::from(place.reverse)];
        let full = format!("{}{template}", self.prefix);
        Ok(full
            .replace("{layer}", &layer)
            .replace("{direction}", direction)
            .replace("{gate}", gate))
    }

    /// The tensors of theirs for `weight` at a layer, if ours has the shape `shape`: name, shape,
    /// and our gate if the tensor is of one gate.
    pub(crate) fn pieces(
        &self,
        weight: &WeightMapping,
        place: LayerId,
        shape: &[usize],
    ) -> Result<Vec<TensorPiece>> {
        let gates = self.gates.len().max(1);
        if weight.form == RowLayout::Gates
            && shape.first().is_none_or(|rows| !rows.is_multiple_of(gates))
        {
            bail!(
                "convention {}: expected '{}' to have rows for {gates} gates, got {shape:?}",
                self.name,
                weight.ours
            )
        }
        let turned = |mut shape: Vec<usize>| {
            if weight.transposed {
                shape.reverse();
            }
            shape
        };
        if weight.by_gate() {
            let mut block = shape.to_vec();
            block[0] /= gates;
            let there = self.gates.iter().filter(|gate| weight.has(&gate.ours));
            return there
                .map(|gate| {
                    let name = self.fill(&weight.theirs, place, &gate.theirs)?;
                    Ok(TensorPiece {
                        name,
                        shape: turned(block.clone()),
                        gate: Some(gate.ours.clone()),
                    })
                })
                .collect();
        }
        let mut theirs = turned(shape.to_vec());
        if weight.row.is_some() {
            theirs.insert(0, self.rows(weight));
        }
        Ok(vec![TensorPiece {
            name: self.fill(&weight.theirs, place, "")?,
            shape: theirs,
            gate: None,
        }])
    }

    /// The number of our weights that theirs stacks.
    fn rows(&self, weight: &WeightMapping) -> usize {
        let same = self.weights.iter().filter(|other| other.theirs == weight.theirs);
        same.filter_map(|other| other.row).max().map_or(0, |last| last + 1)
    }

    /// The index of a gate among ours.
    pub(crate) fn index(&self, gate: &str) -> usize {
        self.ours.iter().position(|ours| ours == gate).expect("`validate` compares the gates")
    }
}

impl WeightMapping {
    pub(crate) fn by_gate(&self) -> bool {
        self.theirs.contains("{gate}")
    }

    pub(crate) fn has(&self, gate: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == gate)
    }
}

/// A tensor of theirs with one of our weights, or a gate of it.
#[derive(Clone, Debug)]
pub(crate) struct TensorPiece {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) gate: Option<String>,
}

/// The parts of a name of ours: `proj.weight_l1_reverse` is `proj.weight` of layer 1 in reverse.
/// `None` without a layer in the name.
pub(crate) fn parse(name: &str) -> Option<(&str, LayerId)> {
    let (rest, reverse) = match name.strip_suffix("_reverse") {
        Some(rest) => (rest, true),
        None => (name, false),
    };
    let (base, layer) = rest.rsplit_once("_l")?;
    Some((base, LayerId { layer: layer.parse().ok()?, reverse }))
}
