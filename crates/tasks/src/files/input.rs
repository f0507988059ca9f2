//! Reading text files, quoting them in messages, and checksums.

use crate::error::{Error, Result};
use crate::usage::bail_config;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::Path;

/// What is at the path of the option `--data`.
///
/// # Errors
/// A [`ConfigError`](crate::usage::ConfigError) if nothing is there.
pub(super) fn data_at(path: &Path) -> Result<Metadata> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail_config!("data {}: no such file or folder", path.display())
        }
        found => found.map_err(|error| Error::io(path, error)),
    }
}

/// Checks that the path of the option `--data` is a file.
///
/// # Errors
/// A [`ConfigError`](crate::usage::ConfigError) if it is none.
pub(super) fn data_file(path: &Path) -> Result<()> {
    if data_at(path)?.is_dir() {
        bail_config!("data {}: expected a file, found a folder", path.display());
    }
    Ok(())
}

/// Reads a file in UTF-8, without the byte order mark.
///
/// # Errors
/// With the path, if the file cannot be read or is not UTF-8.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Error::data(format!(
            "{}: expected UTF-8, found another byte at offset {offset}",
            path.display()
        ))
    })?;
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Ok(rest.to_string()),
        None => Ok(text),
    }
}

/// The first characters of a text, for a message; an ellipsis marks a cut.
pub(super) fn excerpt(text: &str) -> String {
    let start: String = text.lines().next().unwrap_or_default().chars().take(30).collect();
    if start == text {
        start
    } else {
        start + " …"
    }
}

/// The CRC-32 of the parts of a data set, in hexadecimal digits.
pub(super) fn checksum<B: AsRef<[u8]>>(parts: impl IntoIterator<Item = B>) -> String {
    let mut checksum = crc32fast::Hasher::new();
    parts.into_iter().for_each(|part| checksum.update(part.as_ref()));
    format!("{:08x}", checksum.finalize())
}
