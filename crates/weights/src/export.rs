//! From our names and layouts to theirs.

use crate::convention::parse;
use crate::{Convention, GateMapping, RowLayout, Tensors, WeightMapping};
use candle_core::{bail, Result, Tensor};
use recurrent_core::LayerId;
use std::collections::{BTreeMap, BTreeSet};

impl Convention {
    /// Our weights under their names and in their layouts.
    ///
    /// # Errors
    /// If a weight has no place there: its name is not listed, or theirs cannot express a bias of
    /// ours that is not zero.
    pub fn export(&self, ours: &Tensors) -> Result<Tensors> {
        self.validate()?;
        let mut theirs = Tensors::new();
        let mut rows: BTreeMap<String, BTreeMap<usize, Tensor>> = BTreeMap::new();
        for (name, tensor) in ours {
            let parsed = parse(name);
            let weight = parsed.and_then(|(base, place)| Some((self.weight(base)?, place)));
            let Some((weight, place)) = weight else {
                match parsed {
                    Some((base, place)) if self.absorbed(base) => {
                        let holds = |weight: &&WeightMapping| {
                            weight.absorbs.as_ref().is_some_and(|absorbed| absorbed.ours == base)
                        };
                        let into =
                            self.weights.iter().find(holds).expect("`absorbed` has found it");
                        let into = format!("{}{}", into.ours, place.suffix());
                        if !ours.contains_key(&into) {
                            bail!(
                                "convention {}: '{name}' goes into '{into}', which is missing",
                                self.name
                            )
                        }
                    }
                    _ if self.rest => put(&mut theirs, self.same(name)?, tensor.contiguous()?)?,
                    _ => {
                        bail!(
                            "convention {}: there is no place for '{name}' {:?}",
                            self.name,
                            tensor.dims()
                        )
                    }
                }
                continue;
            };
            let tensor = self.absorb(weight, place, tensor, ours)?;
            let tensor = tensor.as_ref();
            for piece in self.pieces(weight, place, tensor.dims())? {
                let mut made = match &piece.gate {
                    Some(gate) => self.block(tensor, gate)?,
                    None if weight.form == RowLayout::Gates && !self.gates.is_empty() => {
                        let blocks = self.gates.iter().map(|gate| self.block(tensor, &gate.ours));
                        Tensor::cat(&blocks.collect::<Result<Vec<_>>>()?, 0)?
                    }
                    None => tensor.clone(),
                };
                if weight.transposed && made.rank() > 1 {
                    made = made.t()?;
                }
                match weight.row {
                    Some(row) => drop(rows.entry(piece.name).or_default().insert(row, made)),
                    None => put(&mut theirs, piece.name, made.contiguous()?)?,
                }
            }
            self.check_absent_gates(weight, place, name, tensor)?;
        }
        for (name, rows) in rows {
            let all: BTreeSet<_> = (0..rows.len()).collect();
            if rows.keys().copied().collect::<BTreeSet<_>>() != all {
                bail!(
                    "convention {}: of '{name}' there are only the rows {:?}",
                    self.name,
                    rows.keys()
                )
            }
            put(&mut theirs, name, Tensor::stack(&rows.into_values().collect::<Vec<_>>(), 0)?)?;
        }
        Ok(theirs)
    }

    fn same(&self, name: &str) -> Result<String> {
        self.fill(name, parse(name).map_or_else(LayerId::default, |(_, place)| place), "")
    }

    /// A gate of theirs by our name, and its index.
    pub(crate) fn their_gate(&self, ours: &str) -> (usize, &GateMapping) {
        let mut gates = self.gates.iter().enumerate();
        gates.find(|(_, gate)| gate.ours == ours).expect("`validate` compares the gates")
    }

    /// The rows of a gate of ours, with their sign.
    fn block(&self, tensor: &Tensor, gate: &str) -> Result<Tensor> {
        let height = tensor.dim(0)? / self.gates.len();
        let block = tensor.narrow(0, self.index(gate) * height, height)?;
        if self.their_gate(gate).1.negated {
            block.neg()
        } else {
            Ok(block)
        }
    }

    /// `tensor` plus the weight that theirs includes.
    fn absorb<'a>(
        &self,
        weight: &WeightMapping,
        place: LayerId,
        tensor: &'a Tensor,
        ours: &Tensors,
    ) -> Result<std::borrow::Cow<'a, Tensor>> {
        let other = weight.absorbs.as_ref().and_then(|absorbed| {
            let name = format!("{}{}", absorbed.ours, place.suffix());
            Some((absorbed, ours.get(&name)?, name))
        });
        let Some((absorbed, other, name)) = other else {
            return Ok(std::borrow::Cow::Borrowed(tensor));
        };
        if absorbed.apart.is_empty() {
            return Ok(std::borrow::Cow::Owned((tensor + other)?));
        }
        let height = other.dim(0)? / self.gates.len();
        let elsewhere = self.weight(&absorbed.ours);
        let blocks = self.ours.iter().enumerate().map(|(index, gate)| {
            let block = other.narrow(0, index * height, height)?;
            if !absorbed.apart.contains(gate) {
                return Ok(block);
            }
            if !elsewhere.is_some_and(|weight| weight.has(gate)) && !is_zero(&block)? {
                bail!(
                    "convention {}: '{name}' of gate {gate:?} is not zero, and has no place there",
                    self.name
                )
            }
            block.zeros_like()
        });
        Ok(std::borrow::Cow::Owned(
            (tensor + Tensor::cat(&blocks.collect::<Result<Vec<_>>>()?, 0)?)?,
        ))
    }

    /// Checks that gates without a tensor there are zero or have another place.
    fn check_absent_gates(
        &self,
        weight: &WeightMapping,
        place: LayerId,
        name: &str,
        tensor: &Tensor,
    ) -> Result<()> {
        let goes_elsewhere = |gate: &String| {
            let absorbed = self.weights.iter().filter_map(|weight| weight.absorbs.as_ref());
            absorbed
                .filter(|absorbed| absorbed.ours == weight.ours)
                .any(|absorbed| !absorbed.apart.contains(gate))
        };
        if let Some(gate) = self.ours.iter().find(|gate| !weight.has(gate) && !goes_elsewhere(gate))
        {
            if !is_zero(&self.block(tensor, gate)?)? {
                bail!(
                    "convention {}: '{name}' of gate {gate:?} in layer {} has no place there",
                    self.name,
                    place.layer
                )
            }
        }
        Ok(())
    }
}

fn put(theirs: &mut Tensors, name: String, tensor: Tensor) -> Result<()> {
    if theirs.contains_key(&name) {
        bail!(
            "two weights would be called '{name}'; expected {{layer}} and {{direction}} in names \
              where there are several (see `under`)"
        )
    }
    theirs.insert(name, tensor);
    Ok(())
}

fn is_zero(tensor: &Tensor) -> Result<bool> {
    Ok(tensor.ne(0.0)?.sum_all()?.to_scalar::<u8>()? == 0)
}
