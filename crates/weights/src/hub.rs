//! The Hugging Face Hub: models and data sets from there, and back.
//!
//! ```no_run
//! use recurrent_weights::hub::Hub;
//! # fn main() -> candle_core::Result<()> {
//! let hub = Hub::default(); // from the environment
//! let path = hub.model("owner/name")?.revision("v1")?.file("model.safetensors")?; // a local path
//! let parquet = hub.dataset("ylecun/mnist")?.file("mnist/test-00000-of-00001.parquet")?;
//! hub.model("me/mine")?.push("folder".as_ref(), "an LSTM for the adding problem")?;
//! # Ok(())
//! # }
//! ```
//!
//! A file is fetched once. The cache is that of Python's `huggingface_hub`: both find the files
//! that the other one has fetched. [`Hub::on_transfer`] can show the progress of a transfer.
//!
//! | variable | meaning |
//! |---|---|
//! | `HF_HUB_OFFLINE` | `1`, `ON`, `YES` or `TRUE`, in any case: use only the cache, as in Python |
//! | `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else `HF_HOME/token` | the token, for private and gated repositories and for [`Repository::push`] |
//! | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | if not empty, the hub gets no token from there |
//! | `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `HF_HOME/hub` | the cache |
//! | `HF_HOME`, else `XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface` | the folder of cache and token |
//! | `HF_ENDPOINT` | the address of the hub; default `https://huggingface.co` |
//!
//! `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` work as usual.

mod download;
mod error;
mod names;
mod progress;
mod push;

pub use progress::{OnTransfer, Transfer};
pub use push::Commit;

use candle_core::{bail, Result};
use hf_hub::{HFClient, HFClientSync, HFRepositorySync, RepoTypeAny};
use std::fmt;
use std::path::{Path, PathBuf};

/// The variable that forbids the network.
const OFFLINE: &str = "HF_HUB_OFFLINE";

/// A hub and the settings of its client. The default comes from the environment.
#[derive(Clone)]
pub struct Hub {
    /// The address of the hub. `None`: `HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: Option<String>,
    /// The folder of the cache. `None`: the folder of the environment, by default
    /// `~/.cache/huggingface/hub`.
    pub cache: Option<PathBuf>,
    /// The token for the hub; no other host gets it. `None`: the token of the environment, if there
    /// is one.
    pub token: Option<String>,
    /// Whether to use only the cache. Default: the value of `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// How often to repeat a request after a temporary failure, with pauses that double from 0.2 s
    /// on. Default 5.
    pub retries: usize,
    /// Called while a file is fetched or sent, for instance to draw a progress bar. `None`:
    /// transfers are silent.
    pub on_transfer: Option<OnTransfer>,
}

impl Default for Hub {
    fn default() -> Self {
        let offline = std::env::var(OFFLINE).is_ok_and(|value| is_true(&value));
        Self { endpoint: None, cache: None, token: None, offline, retries: 5, on_transfer: None }
    }
}

/// The values that Python's library takes for true.
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
            .finish_non_exhaustive()
    }
}

/// The kind of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositoryKind {
    /// Weights and their configuration.
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

/// The local path of a file of the repository `id`, `owner/name`, at a revision (default `main`),
/// from the hub of the environment.
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
    /// If `id` is not of that form, or the address of the hub is not an address. This sends no
    /// request yet.
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
        check_endpoint(self.endpoint.as_deref())?;
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
        let failed = |error| candle_core::Error::Msg(format!("hub: {}", error::chain(&error)));
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
            on_transfer: self.on_transfer.clone(),
            endpoint: client.endpoint().to_owned(),
            cache: client.cache_dir().join(format!("{kind}s--{owner}--{name}")),
            remote: HFClientSync::from_inner(client)
                .map_err(failed)?
                .repository(repo_type, owner, name),
        })
    }
}

/// Checks the address of the hub, or that of the environment, which the client would only find
/// fault with in its first request.
fn check_endpoint(endpoint: Option<&str>) -> Result<()> {
    let (source, address) = match endpoint {
        Some(endpoint) => ("hub endpoint", endpoint.to_owned()),
        None => match std::env::var("HF_ENDPOINT") {
            Ok(value) => ("HF_ENDPOINT", value),
            Err(_) => return Ok(()),
        },
    };
    let host = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    if host.is_none_or(str::is_empty) {
        bail!("{source}: expected an address like https://huggingface.co, got {address:?}")
    }
    Ok(())
}

/// A repository of the hub at a revision.
#[derive(Clone)]
pub struct Repository {
    kind: RepositoryKind,
    id: String,
    revision: String,
    offline: bool,
    on_transfer: Option<OnTransfer>,
    endpoint: String,
    /// Its folder in the cache.
    cache: PathBuf,
    remote: HFRepositorySync<RepoTypeAny>,
}

/// Its name, revision and hub.
impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.label(), self.endpoint)
    }
}

impl Repository {
    /// The same repository at another revision: a branch, a tag, `refs/pr/N`, or a commit by its 40
    /// hexadecimal digits.
    ///
    /// Only a commit never changes. It needs no network once its files are in the cache.
    ///
    /// # Errors
    /// If `revision` cannot be the name of a revision.
    pub fn revision(self, revision: &str) -> Result<Self> {
        names::revision(revision)?;
        Ok(Self { revision: revision.to_owned(), ..self })
    }

    /// The local path of a file: from the cache if the hub has no newer one, else fetched.
    ///
    /// The file is part of the cache, which other programs share: do not write to it. If the hub
    /// does not answer, or the cache is read-only, the result is the file in the cache.
    ///
    /// # Errors
    /// If `file` is not a path within the repository; if the repository, the revision or the file
    /// does not exist; if the hub refuses, for instance a private or gated repository without a
    /// token; if the hub does not answer, the transfer breaks off, the network is forbidden or the
    /// cache is read-only, and the file is not in the cache.
    pub fn file(&self, file: &str) -> Result<PathBuf> {
        names::file(file)?;
        download::file(self, file)
    }

    /// The local folder of several files, all of one commit, even if the branch moves meanwhile:
    /// for files that belong together, such as weights and their configuration.
    ///
    /// # Errors
    /// As [`file`](Self::file), for any of them; if `files` is empty.
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

    /// Uploads a file, or all files of a folder, to the repository as one commit on its revision,
    /// which must be a branch.
    ///
    /// Subfolders keep their names. Files and folders whose names begin with a dot are left out.
    /// Files of the same name are replaced, others stay. The repository must exist.
    ///
    /// # Errors
    /// If `path` does not exist or holds no file; if the hub refuses, for instance without a token
    /// that may write; if it does not answer; if the network is forbidden. The repository is then
    /// unchanged.
    pub fn push(&self, path: &Path, message: &str) -> Result<Commit> {
        push::push(self, path, message)
    }

    /// Its name in messages.
    fn label(&self) -> String {
        format!("hub {} {} at {}", self.kind, self.id, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_values_are_those_of_python() {
        assert!(["1", "on", "ON", "yes", "Yes", "true", "TRUE"].into_iter().all(is_true));
        assert!(!["", "0", "off", "no", "false", "2", " 1", "y"].into_iter().any(is_true));
    }

    #[test]
    fn an_endpoint_without_a_scheme_is_refused_with_its_value() -> Result<()> {
        for address in ["", "huggingface.co", "https://", "ftp://host"] {
            let hub = Hub { endpoint: Some(address.to_owned()), ..Hub::default() };
            let error = hub.model("a/b").expect_err(address).to_string();
            let expected = format!(
                "hub endpoint: expected an address like https://huggingface.co, got {address:?}"
            );
            assert_eq!(error.lines().next(), Some(expected.as_str()));
        }
        Ok(())
    }

    #[test]
    fn a_token_is_never_printed() -> Result<()> {
        let hub = Hub { token: Some("hf_secret".into()), ..Hub::default() };
        assert!(!format!("{hub:?} {:?}", hub.model("a/b")?).contains("secret"));
        Ok(())
    }
}
