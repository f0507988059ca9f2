//! Recurrent layers together with their configuration, and their files.

mod config;
mod pytorch;

use crate::{Layer, RnnConfig};
use candle_core::{bail, DType, Device, Error, Module, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use config::Config;
use recurrent_weights::{check, read, write, Convention, Tensors};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";

/// Recurrent layers together with their [`RnnConfig`], the number of features of their input and
/// the number of units.
///
/// [`Model::save`] writes a folder with `model.safetensors`, under PyTorch's names, and
/// `config.json` with the format, the version of this crate, the configuration, the sizes and the
/// dtype. [`Model::load`] builds the same model again. [`Model::import`] reads files of other
/// libraries.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use recurrent::{CellKind, GruConfig, Model, RnnConfig};
///
/// # fn main() -> anyhow::Result<()> {
/// let gru = CellKind::Gru(GruConfig::default());
/// let config = RnnConfig { layers: 2, ..RnnConfig::new(gru) };
/// let vars = VarMap::new();
/// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
/// let model = Model::new(config, 3, 8, vb)?;
///
/// let folder = tempfile::tempdir()?;
/// model.save(folder.path())?;
/// let same = Model::load(folder.path(), &Device::Cpu)?;
///
/// let xs = Tensor::ones((2, 50, 3), DType::F32, &Device::Cpu)?; // (batch, time, input)
/// assert_eq!(same.config(), model.config());
/// assert_eq!(same.forward(&xs)?.to_vec3::<f32>()?, model.forward(&xs)?.to_vec3::<f32>()?);
/// # Ok(())
/// # }
/// ```
pub struct Model {
    spec: RnnConfig,
    input: usize,
    hidden: usize,
    dtype: DType,
    device: Device,
    layer: Box<dyn Layer>,
}

impl Model {
    /// Layers of `hidden` units in each direction on `input` features, with the weights of `vb`.
    ///
    /// # Errors
    /// As [`RnnConfig::build`].
    pub fn new(spec: RnnConfig, input: usize, hidden: usize, vb: VarBuilder) -> Result<Self> {
        let (dtype, device) = (vb.dtype(), vb.device().clone());
        let layer = spec.build(input, hidden, vb)?;
        Ok(Self { spec, input, hidden, dtype, device, layer })
    }

    /// The configuration of the layers.
    pub fn config(&self) -> &RnnConfig {
        &self.spec
    }

    /// The number of features of the input.
    pub fn input_size(&self) -> usize {
        self.input
    }

    /// The number of units, in each direction.
    pub fn hidden_size(&self) -> usize {
        self.hidden
    }

    /// The dtype of the weights.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The engine that runs the layers for their own dtype and device: [`Layer::explain`].
    pub fn explain(&self) -> String {
        self.layer.explain(self.dtype, &self.device)
    }

    /// The layers, for a run or a stream.
    pub fn layer(&self) -> &dyn Layer {
        self.layer.as_ref()
    }

    /// The layers, without the model.
    pub fn into_layer(self) -> Box<dyn Layer> {
        self.layer
    }

    /// The weights by name.
    pub fn tensors(&self) -> Tensors {
        self.layer.params().into_iter().collect()
    }

    /// Writes `model.safetensors` and `config.json` into `folder`, which is created if it does not
    /// exist. Each file is written atomically. `model.safetensors` contains a copy of
    /// `config.json`, by which [`Model::load`] detects two files that do not belong together.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let config = Config::of(self).text()?;
        std::fs::create_dir_all(folder)
            .map_err(|error| Error::msg(format!("{}: {error}", folder.display())))?;
        let metadata = [("format", "pt"), ("config", &config)];
        let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string()));
        write(folder.join(WEIGHTS), &self.tensors(), &BTreeMap::from(metadata))?;
        let path = folder.join(CONFIG);
        let written = recurrent_core::write_whole(&path, config.as_bytes());
        written.map_err(|error| Error::msg(format!("{}: {error}", path.display())))
    }

    /// Loads a model from the `folder` of [`Model::save`], for inference: its weights are
    /// constants, so a run saves nothing for a backward pass.
    ///
    /// # Errors
    /// If a file is missing or corrupt, has a key that this version does not know, or the two files
    /// do not belong together.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let (config, tensors) = stored(folder.as_ref())?;
        Self::of(config.spec, config.input, config.hidden, config.dtype, &tensors, device)
    }

    /// Loads a model from the hub: a folder of [`Model::save`] that
    /// [`Repository::push`](crate::hub::Repository::push) uploaded.
    ///
    /// # Errors
    /// As [`Repository::folder`](crate::hub::Repository::folder) and [`Model::load`].
    #[cfg(feature = "hub")]
    pub fn from_hub(repository: &crate::hub::Repository, device: &Device) -> Result<Self> {
        Self::load(repository.folder(&[CONFIG, WEIGHTS])?, device)
    }

    /// Loads a model for training: the weights become variables of `vars` and replace those of the
    /// same name.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_into(vars: &VarMap, folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let (config, tensors) = stored(folder.as_ref())?;
        for (name, tensor) in tensors {
            let var = Var::from_tensor(&tensor.to_device(device)?.to_dtype(config.dtype)?)?;
            vars.data().lock().expect("nothing panics while it holds the lock").insert(name, var);
        }
        Self::new(
            config.spec,
            config.input,
            config.hidden,
            VarBuilder::from_varmap(vars, config.dtype, device),
        )
    }

    /// A model with the weights of another library's file (safetensors, `.pt`, `.npz`), with the
    /// names and layouts of `convention`. Its dtype is that of the file if that is f32 or f64, and
    /// f32 otherwise.
    ///
    /// # Errors
    /// If the file cannot be read, its tensors are not those of `spec` (one error lists all
    /// differences), or `convention` has the equations of another cell.
    pub fn import(
        path: impl AsRef<Path>,
        convention: &Convention,
        spec: RnnConfig,
        (input, hidden): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        let path = path.as_ref();
        let found = read(path)?.tensors;
        let model = Self::from_tensors(&found, convention, spec, (input, hidden), device);
        model.map_err(|error| Error::msg(format!("{}: {error}", path.display())))
    }

    /// The same from tensors in memory.
    ///
    /// # Errors
    /// As [`Model::import`].
    pub fn from_tensors(
        found: &Tensors,
        convention: &Convention,
        spec: RnnConfig,
        (input, hidden): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        fits(convention, &spec)?;
        let ours = convention.import(found, &expected(&spec, input, hidden)?)?;
        let dtype =
            ours.values().map(Tensor::dtype).find(|dtype| matches!(dtype, DType::F32 | DType::F64));
        Self::of(spec, input, hidden, dtype.unwrap_or(DType::F32), &ours, device)
    }

    /// A model with the weights of a PyTorch module, `torch.nn.RNN`, `LSTM` or `GRU`, under
    /// `prefix` in the file: `encoder.rnn.`. `cell` gives the family, and the options that do not
    /// change shapes. Sizes, layers, directions, biases and the projection come from the tensors;
    /// see [`RnnConfig::of_pytorch`].
    ///
    /// # Errors
    /// As [`Model::import`]; if the shapes are not those of such a module.
    pub fn from_pytorch(
        path: impl AsRef<Path>,
        prefix: &str,
        cell: crate::CellKind,
        device: &Device,
    ) -> Result<Self> {
        let path = path.as_ref();
        let found = read(path)?.tensors;
        let build = || {
            let (spec, sizes) = RnnConfig::of_pytorch(cell, &found, prefix)?;
            let convention = recurrent_weights::conventions::pytorch().under(prefix);
            Self::from_tensors(&found, &convention, spec, sizes, device)
        };
        build().map_err(|error: Error| Error::msg(format!("{}: {error}", path.display())))
    }

    /// Writes the weights as a safetensors file with another library's names and layouts.
    ///
    /// # Errors
    /// If the convention has no name for a weight, or has the equations of another cell, or the
    /// file cannot be written.
    pub fn export(&self, path: impl AsRef<Path>, convention: &Convention) -> Result<()> {
        fits(convention, &self.spec)?;
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        write(path, &convention.export(&self.tensors())?, &metadata)
    }

    fn of(
        spec: RnnConfig,
        input: usize,
        hidden: usize,
        dtype: DType,
        ours: &Tensors,
        device: &Device,
    ) -> Result<Self> {
        let ours = ours
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), tensor.to_dtype(dtype)?.to_device(device)?)));
        let ours = ours.collect::<Result<HashMap<_, _>>>()?;
        Self::new(spec, input, hidden, VarBuilder::from_tensors(ours, dtype, device))
    }
}

impl Module for Model {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.layer.forward(xs)
    }
}

/// The names and shapes of the weights of these layers.
fn expected(spec: &RnnConfig, input: usize, hidden: usize) -> Result<Vec<(String, Vec<usize>)>> {
    let zeros = spec.build(input, hidden, VarBuilder::zeros(DType::F32, &Device::Cpu))?;
    Ok(zeros.params().into_iter().map(|(name, tensor)| (name, tensor.dims().to_vec())).collect())
}

/// Reads both files of a folder, and checks them against each other.
fn stored(folder: &Path) -> Result<(Config, Tensors)> {
    if folder.is_file() {
        bail!(
            "{}: expected a folder that `Model::save` wrote, found a file; `Model::from_pytorch` \
             and `Model::import` read files of other libraries",
            folder.display()
        )
    }
    let (path, weights) = (folder.join(CONFIG), folder.join(WEIGHTS));
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::msg(format!("{}: {error}", path.display())))?;
    let config =
        Config::parse(&text).map_err(|error| Error::msg(format!("{}: {error}", path.display())))?;
    let contents = read(&weights)?;
    if contents.metadata.get("config").is_some_and(|inside| *inside != text) {
        bail!("{}: it does not belong to {WEIGHTS} beside it", path.display())
    }
    let check = || -> Result<()> {
        config.plausible(&contents.tensors)?;
        check(CONFIG, &expected(&config.spec, config.input, config.hidden)?, &contents.tensors)?;
        match contents.tensors.iter().find(|(_, tensor)| tensor.dtype() != config.dtype) {
            Some((name, tensor)) => {
                bail!(
                    "'{name}': expected {}, found {}",
                    config.dtype.as_str(),
                    tensor.dtype().as_str()
                )
            }
            None => Ok(()),
        }
    };
    check().map_err(|error| Error::msg(format!("{}: {error}", weights.display())))?;
    Ok((config, contents.tensors))
}

/// Checks that the equations of `convention` are those of the cells.
fn fits(convention: &Convention, spec: &RnnConfig) -> Result<()> {
    let cell = serde_json::to_value(&spec.cell).map_err(Error::wrap)?;
    // The family first: another family may lack the other options.
    let (family, others): (Vec<_>, Vec<_>) =
        convention.requires.iter().partition(|(option, _)| *option == "family");
    for (option, expected) in family.into_iter().chain(others) {
        let found = &cell[option];
        if found != expected {
            bail!(
                "convention {}: its cell has {option} {expected}, got a spec with {found}",
                convention.name
            )
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::TrackedTensors;
    use crate::{Direction, Lstm, LstmConfig, Stack};

    /// A part of a checkpoint that no layer reads is found.
    #[test]
    fn a_checkpoint_that_is_loaded_in_part_is_refused() -> Result<()> {
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu).pp("rnn");
        let config = LstmConfig::default();
        Stack::new(3, 4, 2, Direction::Bidirectional, &config, vb)?;
        let saved = vars.data().lock().expect("no thread has panicked").clone();
        let saved = saved.into_iter().map(|(name, var)| (name, var.as_tensor().clone())).collect();

        let file = TrackedTensors::new(saved);
        let vb = || file.var_builder(DType::F32, &Device::Cpu).pp("rnn");
        Lstm::new(3, 4, &config, vb())?;
        let error = file.check("").expect_err("a quarter of it was read").to_string();
        let start = "weights of the layers that were built: superfluous 'rnn.bias_hh_l0_reverse'";
        assert!(error.starts_with(start), "{error}");
        assert_eq!((file.unread().len(), error.matches("'rnn.").count()), (12, 12), "{error}");
        Stack::new(3, 4, 2, Direction::Bidirectional, &config, vb())?;
        file.check("")
    }
}
