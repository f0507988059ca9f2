//! From their names and layouts to ours.

use crate::convention::{parse, TensorPiece};
use crate::{nearest, Convention, Mismatch, RowLayout, Tensors, WeightMapping};
use candle_core::{bail, DType, Result, Tensor};
use recurrent_core::LayerId;
use std::collections::{BTreeMap, BTreeSet};

/// The origin of one of our weights.
enum WeightSource<'a> {
    /// A tensor of theirs, unchanged.
    Same(String),
    /// Pieces of theirs.
    Mapped(&'a WeightMapping, Vec<TensorPiece>),
    /// No tensor of theirs; ours is zero.
    Zero,
}

/// The origin and our shape of every weight, by our names.
type ImportPlan<'a> = BTreeMap<&'a str, (WeightSource<'a>, &'a [usize])>;

impl Convention {
    /// Our weights out of `found`: names and shapes as in `expected`, which are those of
    /// [`recurrent_core::Layer::params`], with the dtypes of `found`.
    ///
    /// Tensors of `found` under no prefix of this convention are ignored.
    ///
    /// # Errors
    /// If tensors are missing, superfluous or misshapen: one [`Mismatch`] lists them all, and names
    /// the convention that they look like. If the convention contradicts itself, or has no place
    /// for some of `expected`.
    pub fn import(&self, found: &Tensors, expected: &[(String, Vec<usize>)]) -> Result<Tensors> {
        self.validate()?;
        let (sources, mut mismatch) = self.plan(expected)?;
        let mut wanted: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for source in sources.values() {
            match source {
                (WeightSource::Same(name), shape) => {
                    drop(wanted.insert(name.clone(), shape.to_vec()))
                }
                (WeightSource::Mapped(_, pieces), _) => {
                    wanted.extend(
                        pieces.iter().map(|piece| (piece.name.clone(), piece.shape.clone())),
                    );
                }
                (WeightSource::Zero, _) => {}
            }
        }
        let prefixes = self.prefixes(expected)?;
        let ours =
            found.iter().filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        mismatch.compare(&wanted, ours.map(|(name, tensor)| (name.as_str(), tensor.dims())));
        if !mismatch.is_empty() {
            mismatch.hint = nearest::hint(self, found, expected);
            return Err(mismatch.into());
        }
        let tensors = sources.iter().map(|(name, (source, shape))| {
            Ok((name.to_string(), self.make(source, shape, found)?))
        });
        tensors.collect()
    }

    fn plan<'a>(
        &'a self,
        expected: &'a [(String, Vec<usize>)],
    ) -> Result<(ImportPlan<'a>, Mismatch)> {
        let mut sources = BTreeMap::new();
        let mut used = BTreeMap::new();
        let mut mismatch = Mismatch::new(&self.name);
        for (name, shape) in expected {
            let parsed = parse(name);
            let weight = parsed.and_then(|(base, place)| Some((self.weight(base)?, place)));
            let source = match (weight, parsed) {
                (Some((weight, place)), _) => {
                    WeightSource::Mapped(weight, self.pieces(weight, place, shape)?)
                }
                (None, Some((base, _))) if self.absorbed(base) => WeightSource::Zero,
                (None, Some((base, place))) if self.rest => WeightSource::Same(self.fill(
                    &format!("{base}{}", place.suffix()),
                    place,
                    "",
                )?),
                (None, None) if self.rest => {
                    WeightSource::Same(self.fill(name, LayerId::default(), "")?)
                }
                _ => {
                    mismatch
                        .missing
                        .push((format!("{name} (which has no name there)"), shape.clone()));
                    continue;
                }
            };
            let pieces: Vec<_> = match &source {
                WeightSource::Mapped(weight, pieces) => {
                    pieces.iter().map(|piece| (piece.name.clone(), weight.row)).collect()
                }
                WeightSource::Same(name) => vec![(name.clone(), None)],
                WeightSource::Zero => Vec::new(),
            };
            for piece in pieces {
                if let Some(other) = used.insert(piece.clone(), name) {
                    bail!(
                        "convention {}: '{}' would be both '{other}' and '{name}'; expected \
                        {{layer}} and {{direction}} in its names where there are several (see \
                        `under`)",
                        self.name,
                        piece.0
                    )
                }
            }
            sources.insert(name.as_str(), (source, shape.as_slice()));
        }
        Ok((sources, mismatch))
    }

    /// The prefixes of names for the layers of `expected`.
    fn prefixes(&self, expected: &[(String, Vec<usize>)]) -> Result<BTreeSet<String>> {
        expected
            .iter()
            .map(|(name, _)| {
                self.fill("", parse(name).map_or_else(LayerId::default, |(_, place)| place), "")
            })
            .collect()
    }

    fn make(&self, source: &WeightSource, shape: &[usize], found: &Tensors) -> Result<Tensor> {
        let zeros = |shape: &[usize]| {
            let like =
                found.values().find(|tensor| tensor.dtype().is_float()).or(found.values().next());
            let (dtype, device) = like.map_or((DType::F32, &candle_core::Device::Cpu), |tensor| {
                (tensor.dtype(), tensor.device())
            });
            Tensor::zeros(shape, dtype, device)
        };
        let (weight, pieces) = match source {
            WeightSource::Zero => return zeros(shape),
            WeightSource::Same(name) => return Ok(found[name].clone()),
            WeightSource::Mapped(weight, pieces) => (*weight, pieces),
        };
        let take = |piece: &TensorPiece| {
            let tensor = &found[&piece.name];
            let tensor = match weight.row {
                Some(row) => tensor.get(row)?,
                None => tensor.clone(),
            };
            if weight.transposed && tensor.rank() > 1 {
                tensor.t()
            } else {
                Ok(tensor)
            }
        };
        if weight.form == RowLayout::Plain || (self.gates.is_empty() && !weight.by_gate()) {
            return take(&pieces[0])?.contiguous();
        }
        let height = shape[0] / self.gates.len();
        let mut blocks = Vec::with_capacity(self.gates.len());
        let whole = if weight.by_gate() { None } else { Some(take(&pieces[0])?) };
        for name in &self.ours {
            let (place, gate) = self.their_gate(name);
            let block =
                match (&whole, pieces.iter().find(|piece| piece.gate.as_ref() == Some(name))) {
                    (Some(whole), _) => whole.narrow(0, place * height, height)?,
                    (None, Some(piece)) => take(piece)?,
                    (None, None) => zeros(&[&[height], &shape[1..]].concat())?,
                };
            blocks.push(if gate.negated { block.neg()? } else { block });
        }
        Tensor::cat(&blocks, 0)?.contiguous()
    }
}
