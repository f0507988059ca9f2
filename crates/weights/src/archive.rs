//! Zip archives, with a limit on their unpacked size.

use candle_core::{bail, Error, Result};
use std::io::{Cursor, Read};
use zip::ZipArchive;

/// The number of bytes that an archive may still unpack to.
pub(crate) struct UnpackBudget {
    whole: u64,
    left: u64,
}

impl UnpackBudget {
    fn new(length: usize) -> Self {
        let whole = 64 * length as u64 + (16 << 20);
        Self { whole, left: whole }
    }

    /// Takes `bytes` for `name`.
    pub(crate) fn spend(&mut self, name: &str, bytes: u64) -> Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => bail!(
                "'{name}': {bytes} bytes are more than the {} that a file of this length may hold",
                self.whole
            ),
        }
        Ok(())
    }
}

/// The members of a zip archive.
pub(crate) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    names: Vec<String>,
    pub(crate) budget: UnpackBudget,
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::msg(format!("zip: {error}"))
}

impl<'a> Archive<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(wrong)?;
        let mut names = Vec::new();
        for index in 0..zip.len() {
            match zip.name_for_index(index) {
                Some(name) => names.push(name.map_err(wrong)?.into_owned()),
                None => bail!("zip: member {index} has no name"),
            }
        }
        Ok(Self { zip, names, budget: UnpackBudget::new(bytes.len()) })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The folder in which `torch.save` puts everything, with its slash.
    pub(crate) fn torch_folder(&self) -> Option<String> {
        let pickle = |name: &String| Some(name.strip_suffix("data.pkl")?.to_string());
        self.names
            .iter()
            .filter_map(pickle)
            .find(|folder| folder.is_empty() || folder.ends_with('/'))
    }

    /// The bytes of a member; `None` if the archive has no such member.
    pub(crate) fn member(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(index) = self.names.iter().position(|other| other == name) else {
            return Ok(None);
        };
        let member = self.zip.by_index(index).map_err(wrong)?;
        let size = member.size();
        self.budget.spend(name, size)?;
        let mut bytes = Vec::new();
        // A byte beyond the stated size shows that the size is wrong.
        member
            .take(size + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| wrong(format!("'{name}': {error}")))?;
        if bytes.len() as u64 != size {
            bail!("zip: '{name}': expected {size} bytes, found {}", bytes.len())
        }
        Ok(Some(bytes))
    }
}
