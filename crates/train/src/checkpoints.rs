//! A folder of checkpoints.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use candle_core::{bail, Result};
use recurrent_core::write_whole;
use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::checkpoint::Checkpoint;

/// The last checkpoints of a training run, in a folder of their own.
///
/// A checkpoint is written atomically, even if the program or the machine stops: to a temporary
/// file, which is synced and renamed. Its name, `step-STEP-CHECKSUM.safetensors`, has the CRC-32 of
/// its bytes, which reveals later damage; then the checkpoint before it is used. The last two are
/// kept.
///
/// ```
/// use candle_core::{Device, Var};
/// use recurrent_train::{Checkpoint, Checkpoints, Optimizer, Params, Sgd, SgdConfig};
///
/// # fn main() -> candle_core::Result<()> {
/// # let temp = tempfile::tempdir()?;
/// let folder = temp.path().join("checkpoints");
/// let w = Var::new(&[3f32, -4.0], &Device::Cpu)?;
/// let params = Params::new([("w".to_string(), w.clone())])?;
/// let mut optimizer = Sgd::new(&params, SgdConfig::default())?;
///
/// let checkpoints = Checkpoints::new(&folder);
/// checkpoints.save(&Checkpoint::new(100, &params, &optimizer, "best loss 0.5".to_string())?)?;
/// w.set(&w.zeros_like()?)?;
///
/// let found = checkpoints.latest::<String>()?;
/// for damaged in &found.damaged {
///     eprintln!("{damaged}"); // the damaged checkpoints, and why
/// }
/// let checkpoint = found.checkpoint.expect("one was saved");
/// checkpoint.restore(&params, &mut optimizer)?;
/// assert_eq!((checkpoint.step, checkpoint.rest.as_str()), (100, "best loss 0.5"));
/// assert_eq!(w.to_vec1::<f32>()?, [3.0, -4.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

/// The result of [`Checkpoints::latest`].
#[derive(Clone, Debug)]
pub struct Latest<R> {
    /// The last intact checkpoint, if there is one.
    pub checkpoint: Option<Checkpoint<R>>,
    /// A line for each damaged later checkpoint: the file, and the damage.
    pub damaged: Vec<String>,
}

impl Checkpoints {
    /// The checkpoints in `folder`, which the first of them creates. The last two are kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), keep: 2 }
    }

    /// Keeps the last `count` checkpoints.
    ///
    /// # Errors
    ///
    /// If `count` is 0.
    pub fn keep(self, count: usize) -> Result<Self> {
        if count == 0 {
            bail!("checkpoints keep: expected at least 1, found 0");
        }
        Ok(Self { keep: count, ..self })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Saves a checkpoint and returns its path; then removes old checkpoints, and those of later
    /// steps, which are damaged or abandoned.
    ///
    /// # Errors
    ///
    /// If it cannot be written, with the system's reason; the earlier checkpoints are then
    /// unchanged.
    pub fn save<R: Serialize>(&self, checkpoint: &Checkpoint<R>) -> Result<PathBuf> {
        let bytes = checkpoint.to_bytes()?;
        let path = self.folder.join(name(checkpoint.step, &bytes));
        let write = || {
            fs::create_dir_all(&self.folder)?;
            write_whole(&path, &bytes)?;
            self.prune(checkpoint.step, &path)
        };
        match write() {
            Ok(()) => Ok(path),
            Err(error) => bail!("checkpoint {}: cannot be written: {error}", path.display()),
        }
    }

    /// The last checkpoint whose checksum is right.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read, or if that checkpoint has another type of `rest`.
    pub fn latest<R: DeserializeOwned>(&self) -> Result<Latest<R>> {
        let mut damaged = Vec::new();
        let mut found = match self.list() {
            Ok(found) => found,
            Err(error) => bail!("checkpoints {}: cannot be read: {error}", self.folder.display()),
        };
        found.sort();
        for (step, path) in found.into_iter().rev() {
            let shown = path.display();
            match fs::read(&path) {
                Err(error) => damaged.push(format!("checkpoint {shown}: cannot be read: {error}")),
                Ok(bytes) if path.file_name() != Some(name(step, &bytes).as_ref()) => {
                    let found = crc32fast::hash(&bytes);
                    damaged.push(format!(
                        "checkpoint {shown}: its checksum is wrong: found {found:08x}"
                    ));
                }
                Ok(bytes) => match Checkpoint::from_bytes(&bytes) {
                    Ok(checkpoint) => return Ok(Latest { checkpoint: Some(checkpoint), damaged }),
                    Err(error) => {
                        bail!("checkpoint {shown}: it is not a checkpoint of this program: {error}")
                    }
                },
            }
        }
        Ok(Latest { checkpoint: None, damaged })
    }

    /// Removes all checkpoints, and the folder if it is empty then.
    ///
    /// # Errors
    ///
    /// If a checkpoint cannot be removed.
    pub fn clear(&self) -> Result<()> {
        let clear = || {
            self.list()?.iter().try_for_each(|(_, path)| fs::remove_file(path))?;
            self.remove_parts()
        };
        if let Err(error) = clear() {
            bail!("checkpoints {}: cannot be removed: {error}", self.folder.display());
        }
        // The folder may hold other files, or may not exist.
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }

    fn prune(&self, step: u64, new: &Path) -> io::Result<()> {
        let (mut earlier, later): (Vec<_>, Vec<_>) = self
            .list()?
            .into_iter()
            .filter(|(_, path)| path != new)
            .partition(|(of, _)| *of <= step);
        earlier.sort();
        let surplus = earlier.len().saturating_sub(self.keep - 1);
        for (_, path) in later.iter().chain(&earlier[..surplus]) {
            fs::remove_file(path)?;
        }
        self.remove_parts()
    }

    /// The checkpoints with their steps, in any order.
    fn list(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        Ok(self.entries()?.into_iter().filter_map(|path| Some((step(&path)?, path))).collect())
    }

    /// Removes temporary files of a program that was killed while writing.
    fn remove_parts(&self) -> io::Result<()> {
        let part = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(".step-") && name.ends_with(".part")
        };
        self.entries()?.iter().filter(|path| part(path)).try_for_each(fs::remove_file)
    }

    fn entries(&self) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(&self.folder) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// The file name of these bytes.
fn name(step: u64, bytes: &[u8]) -> String {
    format!("step-{step:012}-{:08x}.safetensors", crc32fast::hash(bytes))
}

/// The step of a checkpoint by its file name; `None` for other files.
fn step(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_prefix("step-")?.strip_suffix(".safetensors")?;
    let (step, checksum) = name.split_once('-')?;
    u32::from_str_radix(checksum, 16).ok()?;
    step.parse().ok()
}
