//! Reading text files, quoting them in messages, and checksums.

use crate::error::{Error, Result};
use std::path::Path;

/// Reads a file in UTF-8, without the byte order mark.
///
/// # Errors
/// With the path, if the file cannot be read or is not UTF-8.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
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
