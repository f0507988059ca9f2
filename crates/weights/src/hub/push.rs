//! Uploads to the hub.

use super::error::request_error;
use super::progress::Follower;
use super::{Repository, OFFLINE};
use candle_core::{bail, Error, Result};
use hf_hub::repository::CommitOperation;
use std::fs;
use std::path::{Path, PathBuf};

/// A commit that the hub has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its 40 hexadecimal digits: a [revision](Repository::revision) that never changes. `None` if
    /// the hub did not tell.
    pub id: Option<String>,
    /// Its page. `None` if the hub did not tell.
    pub url: Option<String>,
}

pub(super) fn push(repository: &Repository, path: &Path, message: &str) -> Result<Commit> {
    if repository.offline {
        bail!("{}: {OFFLINE} forbids to send {}", repository.label(), path.display())
    }
    let files = files(path)?;
    if files.is_empty() {
        bail!(
            "hub push: expected at least one file whose name does not begin with a dot, found none \
            in {}",
            path.display()
        )
    }
    let operations =
        files.into_iter().map(|(name, file)| CommitOperation::add_file(name, file)).collect();
    let made = repository
        .remote
        .create_commit()
        .operations(operations)
        .commit_message(message)
        .revision(&repository.revision)
        .progress(Follower::new(&repository.id, repository.on_transfer.as_ref()))
        .send()
        .map_err(|error| request_error(repository, error))?;
    Ok(Commit { id: made.commit_oid, url: made.commit_url })
}

/// The files at `path`, by their names in the repository, sorted.
fn files(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = |error| Error::Msg(format!("hub push: {}: {error}", path.display()));
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        let Some(name) = path.file_name() else {
            bail!("hub push: expected a file or a folder, got {}", path.display())
        };
        return Ok(vec![(name.to_string_lossy().into_owned(), path.to_owned())]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A link to a folder could lead in a circle; a link to a file stands for the file.
        if name.starts_with('.')
            || entry.path().is_dir() && entry.file_type().map_err(failed)?.is_symlink()
        {
            continue;
        }
        if entry.path().is_dir() {
            files.extend(
                self::files(&entry.path())?
                    .into_iter()
                    .map(|(inner, file)| (format!("{name}/{inner}"), file)),
            );
        } else {
            files.push((name, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}
