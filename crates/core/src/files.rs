//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a file so that it is there whole or as it was before, whenever the program or the machine
/// stops: beside, synced, renamed.
///
/// What stands beside is called `.NAME.part`; a program that was killed while it wrote leaves it
/// there, and the next one writes over it.
///
/// # Errors
/// If it cannot be written; then what was there before still is, and nothing lies beside it.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(".part");
    let beside = path.with_file_name(beside);
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&beside)))?;
    sync(
        &path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .map_or(PathBuf::from("."), Path::to_path_buf),
    )
}

/// A rename lasts once the folder is synced, which only Unix can open for that.
#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}
