//! The Hugging Face Hub: models and data sets from there, and back.
//!
//! ```no_run
//! use recurrent_weights::hub::Hub;
//! # fn main() -> candle::Result<()> {
//! let hub = Hub::default(); // as the environment says
//! let path = hub.model("owner/name")?.revision("v1")?.file("model.safetensors")?; // a local path
//! let parquet = hub.dataset("ylecun/mnist")?.file("mnist/test-00000-of-00001.parquet")?;
//! hub.model("me/mine")?.push("folder".as_ref(), "an LSTM for the adding problem")?;
//! # Ok(())
//! # }
//! ```
//!
//! A file is fetched once. The cache is that of Python's `huggingface_hub`: what one of them fetched, the other finds.
//! A bar on stderr shows the transfer, if that is a terminal.
//!
//! | variable | what it says |
//! |---|---|
//! | `HF_HUB_OFFLINE` | `1`, `ON`, `YES` or `TRUE`, in any case: only the cache is looked at, as in Python |
//! | `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else `HF_HOME/token` | the token, for private and gated repositories and for [`Repository::push`] |
//! | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | if not empty, no token is taken from there |
//! | `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `HF_HOME/hub` | the cache |
//! | `HF_HOME`, else `XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface` | where cache and token lie |
//! | `HF_ENDPOINT` | the hub, if not `https://huggingface.co` |
//!
//! `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` hold as usual.

mod download;
mod error;
mod names;
mod progress;
mod push;

pub use push::Commit;

use crate::hub::error::HubError;
use candle::{bail, Result};
use hf_hub::{HFClient, HFClientSync, HFRepositorySync, RepoTypeAny};
use std::fmt;
use std::path::{Path, PathBuf};

/// The switch for work without a network.
const OFFLINE: &str = "HF_HUB_OFFLINE";

/// A hub and how it is spoken to. The default is what the environment says.
#[derive(Clone)]
pub struct Hub {
    /// The address of the hub. None: `HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: Option<String>,
    /// The folder of the cache. None: that of the environment, in most cases `~/.cache/huggingface/hub`.
    pub cache: Option<PathBuf>,
    /// The token that is sent to the hub, and to no other host. None: that of the environment, if there is one.
    pub token: Option<String>,
    /// Whether only the cache is looked at. Default: what `HF_HUB_OFFLINE` says.
    pub offline: bool,
    /// How often a request is repeated that failed for a passing reason, after pauses that double, from 0.2 s on. Default 5.
    pub retries: usize,
}

impl Default for Hub {
    fn default() -> Self {
        let offline = std::env::var(OFFLINE).is_ok_and(|value| is_true(&value));
        Self { endpoint: None, cache: None, token: None, offline, retries: 5 }
    }
}

/// What Python's library takes for a yes.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
}

/// Without the token.
impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("offline", &self.offline)
            .field("retries", &self.retries)
            .finish()
    }
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositoryKind {
    /// Weights, with what belongs to them.
    Model,
    /// A data set.
    Dataset,
}

impl fmt::Display for RepositoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        })
    }
}

/// The local path of a file of the repository `id`, `owner/name`, at a revision (none: `main`), from the hub of the environment.
///
/// # Errors
/// As [`Repository::file`].
pub fn from_hub(
    kind: RepositoryKind,
    id: &str,
    revision: Option<&str>,
    file: &str,
) -> Result<PathBuf> {
    let repository = Hub::default().repository(kind, id)?;
    match revision {
        Some(revision) => repository.revision(revision)?.file(file),
        None => repository.file(file),
    }
}

impl Hub {
    /// The model `id`, `owner/name`, at the revision `main`.
    ///
    /// # Errors
    /// If `id` is not of that form, or the address of the hub is none. Nothing is asked of the hub yet.
    pub fn model(&self, id: &str) -> Result<Repository> {
        self.repository(RepositoryKind::Model, id)
    }

    /// The data set `id`, `owner/name`, at the revision `main`.
    ///
    /// # Errors
    /// As [`model`](Self::model).
    pub fn dataset(&self, id: &str) -> Result<Repository> {
        self.repository(RepositoryKind::Dataset, id)
    }

    /// The repository `id`, `owner/name`, at the revision `main`.
    ///
    /// # Errors
    /// As [`model`](Self::model).
    pub fn repository(&self, kind: RepositoryKind, id: &str) -> Result<Repository> {
        let (owner, name) = names::repository(kind, id)?;
        let mut builder = HFClient::builder().retry_max_attempts(self.retries);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if let Some(cache) = &self.cache {
            builder = builder.cache_dir(cache);
        }
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        let failed = |error| candle::Error::Msg(format!("hub: {}", error::chain(&error)));
        let client = builder.build().map_err(failed)?;
        let repo_type = match kind {
            RepositoryKind::Model => RepoTypeAny::Model,
            RepositoryKind::Dataset => RepoTypeAny::Dataset,
        };
        Ok(Repository {
            kind,
            id: id.to_owned(),
            revision: "main".to_owned(),
            offline: self.offline,
            endpoint: client.endpoint().to_owned(),
            cache: client.cache_dir().join(format!("{kind}s--{owner}--{name}")),
            remote: HFClientSync::from_inner(client)
                .map_err(failed)?
                .repository(repo_type, owner, name),
        })
    }
}

/// A repository of the hub at a revision.
#[derive(Clone)]
pub struct Repository {
    kind: RepositoryKind,
    id: String,
    revision: String,
    offline: bool,
    endpoint: String,
    /// Its folder in the cache.
    cache: PathBuf,
    remote: HFRepositorySync<RepoTypeAny>,
}

/// Its address and revision.
impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.named(), self.endpoint)
    }
}

impl Repository {
    /// The same repository at another revision: a branch, a tag, `refs/pr/N`, or a commit by its 40 hexadecimal digits.
    ///
    /// Only a commit is the same for ever, and needs no network once its files are in the cache.
    ///
    /// # Errors
    /// If it cannot be the name of a revision.
    pub fn revision(self, revision: &str) -> Result<Self> {
        names::revision(revision)?;
        Ok(Self { revision: revision.to_owned(), ..self })
    }

    /// The local path of a file: from the cache if it is there and the hub has no newer one, else fetched.
    ///
    /// The file lies in the cache and is shared with other programs: to be read only. If the hub gives no answer, what the cache has is taken.
    ///
    /// # Errors
    /// If `file` is no path within the repository; if the repository, the revision or the file does not exist; if the hub
    /// refuses, as it does without a token where the repository is private or gated; if the hub gives no answer or the
    /// transfer breaks off, then nothing of it is in the cache; if nothing may be fetched and the cache has it not.
    pub fn file(&self, file: &str) -> Result<PathBuf> {
        names::file(file)?;
        download::file(self, file)
    }

    /// The local folder in which several files lie, all of one commit, even if the branch moves on meanwhile: for what belongs
    /// together, like weights and their configuration.
    ///
    /// # Errors
    /// As [`file`](Self::file), for any of them; if `files` names none.
    pub fn folder(&self, files: &[&str]) -> Result<PathBuf> {
        let Some((first, rest)) = files.split_first() else {
            bail!("hub folder: expected at least 1 file, got 0")
        };
        let path = self.file(first)?;
        // .../snapshots/COMMIT/FILE, where FILE may have folders of its own
        let folder = path
            .ancestors()
            .nth(first.split('/').count())
            .expect("a file of the cache lies in the folder of its commit");
        let commit = folder.file_name().expect("which is called after it").to_string_lossy();
        let pinned = self.clone().revision(&commit)?;
        for file in rest {
            pinned.file(file)?;
        }
        Ok(folder.to_owned())
    }

    /// Puts a file, or all files of a folder, into the repository, as one commit upon its revision, which must be a branch.
    ///
    /// What lies in folders within the folder goes to folders of the same names. What begins with a dot stays at home. Files of the
    /// same name are replaced, others stay. The repository must exist.
    ///
    /// # Errors
    /// If there is nothing at `path` or no file in it; if the hub refuses, as it does without a token that may write; if it gives
    /// no answer; if nothing may be sent. The repository then is as it was.
    pub fn push(&self, path: &Path, message: &str) -> Result<Commit> {
        push::push(self, path, message)
    }

    /// How it is called in messages.
    fn named(&self) -> String {
        format!("hub {} {} at {}", self.kind, self.id, self.revision)
    }

    fn error(&self) -> HubError<'_> {
        HubError { repository: self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_is_what_python_takes_for_it() {
        assert!(["1", "on", "ON", "yes", "Yes", "true", "TRUE"].into_iter().all(is_true));
        assert!(!["", "0", "off", "no", "false", "2", " 1", "y"].into_iter().any(is_true));
    }

    #[test]
    fn a_token_is_never_printed() -> Result<()> {
        let hub = Hub { token: Some("hf_secret".into()), ..Hub::default() };
        assert!(!format!("{hub:?} {:?}", hub.model("a/b")?).contains("secret"));
        Ok(())
    }
}
