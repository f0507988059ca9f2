//! The carried values: [`State`] between two steps of a cell, [`Carry`] between two calls of a
//! layer.

use candle_core::{bail, Result, Tensor};
use std::collections::BTreeMap;

/// The values that a cell carries from step to step, as named fields. The first is its output `h`.
pub trait State: Clone + Send + Sync + 'static {
    /// The names of the fields, in order; the first is the output.
    const FIELDS: &'static [&'static str];

    /// The fields in order, each `(batch, size)`.
    fn fields(&self) -> Vec<Tensor>;

    /// The state made of these fields, in the order of [`State::FIELDS`].
    ///
    /// # Errors
    /// If the number of fields differs.
    fn from_fields(fields: Vec<Tensor>) -> Result<Self>;
}

/// The state of a cell that carries only its output: vanilla networks and GRUs.
#[derive(Clone, Debug)]
pub struct HiddenState {
    /// The output, `(batch, hidden)`.
    pub h: Tensor,
}

impl State for HiddenState {
    const FIELDS: &'static [&'static str] = &["h"];

    fn fields(&self) -> Vec<Tensor> {
        vec![self.h.clone()]
    }

    fn from_fields(fields: Vec<Tensor>) -> Result<Self> {
        let [h] = exactly(fields)?;
        Ok(Self { h })
    }
}

/// The state of an LSTM: its output and its cell state.
#[derive(Clone, Debug)]
pub struct LstmState {
    /// The output, `(batch, hidden)`.
    pub h: Tensor,
    /// The cell state (the constant-error carousel), `(batch, hidden)`.
    pub c: Tensor,
}

impl State for LstmState {
    const FIELDS: &'static [&'static str] = &["h", "c"];

    fn fields(&self) -> Vec<Tensor> {
        vec![self.h.clone(), self.c.clone()]
    }

    fn from_fields(fields: Vec<Tensor>) -> Result<Self> {
        let [h, c] = exactly(fields)?;
        Ok(Self { h, c })
    }
}

fn exactly<const N: usize>(fields: Vec<Tensor>) -> Result<[Tensor; N]> {
    let found = fields.len();
    match fields.try_into() {
        Ok(fields) => Ok(fields),
        Err(_) => bail!("state: expected {N} fields, got {found}"),
    }
}

/// The states of a whole layer between two calls.
///
/// The carry that a call returns goes into the next call, to continue a sequence. Truncated
/// backpropagation through time is `carry.detach()` between the two. A layer that runs in reverse
/// cannot continue a sequence: it refuses the carry that it returned, unless the carry went through
/// [`Carry::into_initial`].
#[derive(Clone, Debug)]
pub enum Carry {
    /// The fields of one cell's state by name, each `(batch, size)`.
    Cell(Vec<(&'static str, Tensor)>),
    /// The carries of the layers of a stack, bottom first, or of two directions, forward first.
    Layers(Vec<Carry>),
    /// What a layer that runs in reverse returns: its state after each example's *first* step,
    /// where the sequence ends for it.
    Reverse(Box<Carry>),
}

impl Carry {
    /// The carry with `f` applied to every tensor.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn map(&self, f: &mut impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(match self {
            Self::Cell(fields) => Self::Cell(
                fields
                    .iter()
                    .map(|(name, tensor)| Ok((*name, f(tensor)?)))
                    .collect::<Result<_>>()?,
            ),
            Self::Layers(parts) => {
                Self::Layers(parts.iter().map(|part| part.map(f)).collect::<Result<_>>()?)
            }
            Self::Reverse(carry) => Self::Reverse(Box::new(carry.map(f)?)),
        })
    }

    /// The same values, detached from the graph: no gradient flows further back.
    pub fn detach(&self) -> Self {
        self.map(&mut |tensor| Ok(tensor.detach())).expect("detaching has no error")
    }

    /// The same values as an initial state, which every direction accepts.
    ///
    /// A layer that runs in reverse returns its state after the first step of a sequence. In a
    /// sequence that comes in chunks, the next chunk would start, at its end, from the beginning of
    /// the chunk before. Layers refuse that; this says that the state is meant to start a run, for
    /// instance of a decoder.
    pub fn into_initial(self) -> Self {
        match self {
            Self::Reverse(carry) => carry.into_initial(),
            Self::Layers(parts) => {
                Self::Layers(parts.into_iter().map(Self::into_initial).collect())
            }
            Self::Cell(_) => self,
        }
    }

    /// The fields of every layer and direction, in PyTorch's order: layer 0 forward, layer 0
    /// reverse, layer 1 forward.
    pub fn cells(&self) -> Vec<&[(&'static str, Tensor)]> {
        match self {
            Self::Cell(fields) => vec![fields],
            Self::Layers(parts) => parts.iter().flat_map(Self::cells).collect(),
            Self::Reverse(carry) => carry.cells(),
        }
    }

    /// The tensors by name, for a file: `h` and `c` for one layer; with the index of each layer in
    /// front for several, `0.h`, `1.0.c`.
    pub fn named(&self) -> Vec<(String, Tensor)> {
        match self {
            Self::Cell(fields) => {
                fields.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect()
            }
            Self::Layers(parts) => {
                let named = |(index, part): (usize, &Self)| {
                    part.named()
                        .into_iter()
                        .map(move |(name, tensor)| (format!("{index}.{name}"), tensor))
                };
                parts.iter().enumerate().flat_map(named).collect()
            }
            Self::Reverse(carry) => carry.named(),
        }
    }

    /// A carry of this structure with the tensors of these names, for example from a file.
    ///
    /// ```
    /// # use candle_core::{DType, Device, Result, Tensor};
    /// # use recurrent_core::Carry;
    /// # fn main() -> Result<()> {
    /// # let ones = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
    /// # let carry = Carry::Layers(vec![Carry::Cell(vec![("h", ones)])]);
    /// # let zeros = carry.map(&mut |tensor| tensor.zeros_like())?;
    /// # let name = format!("recurrent-carry-{}.safetensors", std::process::id());
    /// # let path = std::env::temp_dir().join(name);
    /// candle_core::safetensors::save(&carry.named().into_iter().collect(), &path)?;
    /// let tensors = candle_core::safetensors::load(&path, &Device::Cpu)?;
    /// let loaded = zeros.with_named(&tensors.into_iter().collect())?;
    /// # std::fs::remove_file(&path)?;
    /// # assert_eq!(loaded.layer(0)?.field("h")?.to_vec2::<f32>()?, [[1.0; 3]; 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If names are missing or superfluous, or shapes differ; the message lists all of them.
    pub fn with_named(&self, tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let own = self.named();
        let mut faults = Vec::new();
        for (name, tensor) in &own {
            match tensors.get(name) {
                None => faults.push(format!("{name} is missing")),
                Some(found) if found.dims() != tensor.dims() => {
                    faults.push(format!(
                        "{name}: expected {:?}, got {:?}",
                        tensor.dims(),
                        found.dims()
                    ));
                }
                Some(_) => {}
            }
        }
        let mut others: Vec<_> =
            tensors.keys().filter(|name| own.iter().all(|(own, _)| own != *name)).collect();
        others.sort_unstable();
        faults.extend(others.into_iter().map(|name| format!("{name} is superfluous")));
        if !faults.is_empty() {
            bail!("carry: {}", faults.join("; "))
        }
        let mut names = own.iter().map(|(name, _)| name);
        self.map(&mut |_| Ok(tensors[names.next().expect("as many names as tensors")].clone()))
    }

    /// The field `name` of a single layer's carry, for instance `c` of an LSTM.
    ///
    /// # Errors
    /// If this is the carry of several layers, or the field does not exist.
    pub fn field(&self, name: &str) -> Result<&Tensor> {
        match self {
            Self::Cell(fields) => match fields.iter().find(|(field, _)| *field == name) {
                Some((_, tensor)) => Ok(tensor),
                None => {
                    let names: Vec<_> = fields.iter().map(|(field, _)| *field).collect();
                    bail!("carry: expected one of the fields {names:?}, got {name:?}")
                }
            },
            Self::Layers(parts) => {
                bail!(
                    "carry: expected one layer's fields, got {} layers; take one with layer(i)",
                    parts.len()
                )
            }
            Self::Reverse(carry) => carry.field(name),
        }
    }

    /// The carry of layer `index` of a stack, or of direction `index`, forward first.
    ///
    /// # Errors
    /// If this is a single layer's carry, or it has fewer layers.
    pub fn layer(&self, index: usize) -> Result<&Carry> {
        match self {
            Self::Layers(parts) if index < parts.len() => Ok(&parts[index]),
            Self::Layers(parts) => {
                bail!("carry: expected an index below {}, got {index}", parts.len())
            }
            Self::Cell(_) | Self::Reverse(_) => {
                bail!("carry: expected several layers, got one layer's fields")
            }
        }
    }

    /// The carries of the layers, of which there must be `count`.
    ///
    /// # Errors
    /// If this is a single layer's carry, or it has another number of layers.
    pub fn layers(&self, count: usize) -> Result<&[Carry]> {
        match self {
            Self::Layers(parts) if parts.len() == count => Ok(parts),
            Self::Layers(parts) => bail!("carry: expected {count} layers, got {}", parts.len()),
            Self::Cell(_) | Self::Reverse(_) => {
                bail!("carry: expected {count} layers, got one layer's fields")
            }
        }
    }
}
