//! A file from the hub or from the cache.

use super::progress::Transfer;
use super::Repository;
use candle::{bail, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) fn file(repository: &Repository, file: &str) -> Result<PathBuf> {
    let transfer = Arc::new(Transfer::new(file));
    let found = repository
        .remote
        .download_file()
        .filename(file)
        .revision(&repository.revision)
        .local_files_only(repository.offline)
        .progress(transfer.clone())
        .send();
    let path = found.map_err(|error| repository.error().with_file(file, error))?;
    if let Some(announced) = transfer.announced() {
        complete(repository, file, &path, announced)?;
    }
    Ok(path)
}

/// That the file has the size which was announced. The client library checks neither that nor the status of the answer
/// whose content it saves: an error page of the server would be taken for the file, now and later.
fn complete(repository: &Repository, file: &str, path: &Path, announced: u64) -> Result<()> {
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
        "{}: {file}: expected {announced} bytes, found {found}, which are now removed from the cache",
        repository.named()
    )
}
