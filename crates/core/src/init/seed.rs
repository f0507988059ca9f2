//! The seed of the weights: it travels with the [`VarBuilder`].

use candle_core::{bail, DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder, VarMap};

/// The name under which a [`seeded`] builder hands out its seed. No weight has a colon in its name.
const SEED: &str = "recurrent:seed";

/// A builder over `vars` whose new weights are drawn from `seed` and their full names.
///
/// It is [`VarBuilder::from_varmap`] with a seed, and passes it on through [`VarBuilder::pp`] and
/// its like. Under any other builder the seed is 0. Weights that `vars` has already keep their
/// values.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::VarMap;
/// use recurrent_core::init;
///
/// # fn main() -> candle_core::Result<()> {
/// let vars = VarMap::new();
/// let vb = init::seeded(&vars, 7, DType::F32, &Device::Cpu);
/// let readout = init::linear(16, 1, &vb.pp("readout"))?;
/// assert_eq!(init::seed(&vb), 7);
/// # Ok(())
/// # }
/// ```
///
/// The seed is looked up by a reserved name, `recurrent:seed`. After [`VarBuilder::rename_f`] it is
/// found only if the function leaves that name, or the end of it, unchanged; else the seed is 0.
/// Prefixes are harmless: `vb.rename_f(|name| format!("model.{name}"))` keeps the seed.
pub fn seeded(vars: &VarMap, seed: u64, dtype: DType, device: &Device) -> VarBuilder<'static> {
    let backend = Seeded { vars: vars.clone(), seed };
    VarBuilder::from_backend(Box::new(backend), dtype, device.clone())
}

/// The seed of a builder: that of [`seeded`], and 0 under any other builder.
pub fn seed(vb: &VarBuilder) -> u64 {
    let words = vb.root().get_unchecked_dtype(SEED, DType::U32);
    match words.and_then(|words| words.to_vec1::<u32>()).as_deref() {
        Ok([high, low]) => u64::from(*high) << 32 | u64::from(*low),
        _ => 0,
    }
}

struct Seeded {
    vars: VarMap,
    seed: u64,
}

impl SimpleBackend for Seeded {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.vars.get(shape, name, init, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        if name.ends_with(SEED) {
            let words = [(self.seed >> 32) as u32, self.seed as u32];
            return Tensor::new(&words, &Device::Cpu);
        }
        let vars = self.vars.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match vars.get(name) {
            Some(var) => var.as_tensor().to_device(device)?.to_dtype(dtype),
            None => bail!("cannot find tensor {name}"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        let vars = self.vars.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        vars.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_travels_with_the_builder() {
        let vars = VarMap::new();
        let seed_7 = 7 + (3 << 40);
        let vb = seeded(&vars, seed_7, DType::F32, &Device::Cpu);
        assert_eq!(seed(&vb), seed_7);
        assert_eq!(seed(&vb.pp("a").pp("b").to_dtype(DType::F64)), seed_7);
        assert_eq!(seed(&vb.clone().rename_f(|name| format!("model.{name}"))), seed_7);
        assert_eq!(seed(&vb.rename_f(|name| name.to_uppercase())), 0, "the trap");
        assert_eq!(seed(&VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu)), 0);
        assert_eq!(seed(&VarBuilder::zeros(DType::F32, &Device::Cpu)), 0);
        assert!(vars.all_vars().is_empty(), "looking for the seed makes no variable");
    }
}
