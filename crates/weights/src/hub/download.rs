//! A file from the hub or from the cache.

use super::error::{file_error, message};
use super::progress::Follower;
use super::{Repository, OFFLINE};
use candle_core::{bail, Result};
use hf_hub::HFError;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) fn file(repository: &Repository, file: &str) -> Result<PathBuf> {
    let transfer = Arc::new(Follower::new(file, repository.on_transfer.as_ref()));
    let path = match fetch(repository, file, repository.offline, &transfer) {
        Ok(path) => path,
        // The client also writes to the cache if nothing has changed.
        Err(error) if is_read_only(&error) => {
            return fetch(repository, file, true, &transfer).map_err(|_| {
                let cache = repository.cache.display();
                message(
                    repository,
                    &format!(
                        "{file} is not in the cache at {cache}, which cannot be written: {error}; \
                         set HF_HUB_CACHE to another folder, or {OFFLINE}=1 for cached files alone"
                    ),
                )
            });
        }
        Err(error) => return Err(file_error(repository, file, error)),
    };
    if let Some(announced) = transfer.announced() {
        check_size(repository, file, &path, announced)?;
    }
    Ok(path)
}

fn fetch(
    repository: &Repository,
    file: &str,
    offline: bool,
    transfer: &Arc<Follower>,
) -> std::result::Result<PathBuf, HFError> {
    repository
        .remote
        .download_file()
        .filename(file)
        .revision(&repository.revision)
        .local_files_only(offline)
        .progress(transfer.clone())
        .send()
}

fn is_read_only(error: &HFError) -> bool {
    let read_only = [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem];
    matches!(error, HFError::Io(error) if read_only.contains(&error.kind()))
}

/// Checks that the file has the announced size. The client library checks neither the size nor the
/// status of the answer whose content it saves: it would keep an error page of the server as the
/// file.
fn check_size(repository: &Repository, file: &str, path: &Path, announced: u64) -> Result<()> {
    let found = fs::metadata(path)?.len();
    if found == announced {
        return Ok(());
    }
    let blob = fs::canonicalize(path)?;
    fs::remove_file(path)?;
    if blob != path && blob.exists() {
        fs::remove_file(blob)?;
    }
    bail!(
        "{}: {file}: expected {announced} bytes, found {found}, which are now removed from the \
         cache",
        repository.label()
    )
}
