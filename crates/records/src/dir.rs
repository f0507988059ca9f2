//! The output folder of a comparison.

use crate::error::{Context, Result};
use crate::usage::bail_config;
use recurrent_core::write_whole;
use serde::Serialize;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The file whose lock shows that a folder is in use. The lock ends with the process, however that
/// ends; the empty file stays.
const LOCK: &str = ".lock";

/// A writable folder that no other program writes to. It was empty when it was locked, or it holds
/// a comparison to resume.
///
/// Files appear whole or not at all: each is written under another name beside its target, synced
/// and renamed.
#[derive(Clone, Debug)]
pub struct OutputDir {
    path: PathBuf,
    /// The lock of this folder or of one that contains it.
    _lock: Arc<File>,
}

impl OutputDir {
    /// Locks `path`, and creates it if it does not exist. Existing files are never overwritten.
    ///
    /// # Errors
    /// If `path` is not a folder, is not empty, cannot be written, or is in use by another program.
    /// In these cases nothing has been created.
    pub fn create(path: &Path) -> Result<Self> {
        let shown = path.display();
        if path.as_os_str().is_empty() {
            // An empty path would be the current folder.
            bail_config!("out: expected a folder, found an empty path");
        }
        match fs::read_dir(path) {
            Ok(entries) => {
                let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
                let locked = names.iter().any(|name| name == LOCK);
                // Files left by a program that was killed before it wrote any results are no reason
                // to refuse.
                let left = |name: &OsString| {
                    name == LOCK || locked && name.to_string_lossy().ends_with(".part")
                };
                if !names.iter().all(left) {
                    if locked {
                        // If that program is still running, report this instead.
                        Self::take(path, "out")?;
                    }
                    let begun = |name: &OsString| name == "comparison.json";
                    let hint = match names.iter().any(begun) {
                        true => "; --resume continues the comparison in it",
                        false => "",
                    };
                    bail_config!(
                        "out {shown}: the folder is not empty, and nothing is overwritten{hint}"
                    );
                }
            }
            Err(_) if path.is_file() => {
                bail_config!("out {shown}: expected a folder, found a file")
            }
            Err(_) => make(path).with_context(|| format!("out {shown}: cannot be made"))?,
        }
        Self::take(path, "out")
    }

    /// Locks a folder again, to resume the comparison in it.
    ///
    /// # Errors
    /// If the folder does not exist, cannot be written, or is in use by another program.
    pub fn reopen(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            bail_config!("resume {}: expected a folder, found none", path.display());
        }
        Self::take(path, "resume")
    }

    /// Takes the lock of an existing folder.
    fn take(path: &Path, what: &str) -> Result<Self> {
        let shown = path.display();
        let file = File::options().create(true).truncate(false).write(true).open(path.join(LOCK));
        let file = file.with_context(|| format!("{what} {shown}: cannot be written"))?;
        match file.try_lock() {
            Ok(()) => {
                sweep(path).with_context(|| format!("{what} {shown}: cannot be written"))?;
                Ok(Self { path: path.to_path_buf(), _lock: Arc::new(file) })
            }
            Err(TryLockError::WouldBlock) => {
                bail_config!("{what} {shown}: another program is writing to this folder")
            }
            Err(TryLockError::Error(error)) => {
                Err::<Self, _>(error).with_context(|| format!("{what} {shown}: cannot be locked"))
            }
        }
    }

    /// Locks `runs/<task>-<time>`, where the time is the start in UTC:
    /// `runs/adding-20250131-142233`. A number is appended if that folder exists.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn create_default(task: &str) -> Result<Self> {
        let time = utc(SystemTime::now());
        let name = format!(
            "runs/{task}-{}-{}",
            time[..10].replace('-', ""),
            time[11..19].replace(':', "")
        );
        for number in 1..1000 {
            let path = if number == 1 { name.clone() } else { format!("{name}-{number}") };
            if !Path::new(&path).exists() {
                return Self::create(Path::new(&path));
            }
        }
        bail_config!("out {name}: it exists, a thousand times over")
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A subfolder, which is created if it does not exist.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn inside(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("{}: cannot be made", path.display()))?;
        Ok(Self { path, ..self.clone() })
    }

    /// Writes a file under another name, syncs it and renames it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        write_whole(&path, content)
            .with_context(|| format!("{}: cannot be written", path.display()))
    }

    /// Writes one JSON object per line.
    ///
    /// # Errors
    /// As [`OutputDir::write`].
    pub fn write_lines<T: Serialize>(&self, name: &str, records: &[T]) -> Result<()> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record).with_context(|| name.to_string())?;
            lines.push(b'\n');
        }
        self.write(name, &lines)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path.join(name);
        fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))
    }
}

/// Removes the temporary files that a killed program left behind.
fn sweep(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if name.to_string_lossy().ends_with(".part") {
            fs::remove_file(path.join(name))?;
        }
    }
    Ok(())
}

/// Creates a folder and its parents. If one fails, those already created are removed.
fn make(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(path).inspect_err(|_| {
        // Only folders created here can be removed, and only while they are empty.
        missing.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    })
}

/// A time in UTC in the form of ISO 8601: `2025-01-31T14:22:33Z`.
pub fn utc(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn dates_are_written_to_the_second_in_utc() {
        let time = UNIX_EPOCH + Duration::from_millis(951_782_399_999);
        assert_eq!(utc(time), "2000-02-28T23:59:59Z");
    }

    #[test]
    fn a_folder_is_created_and_locked_only_once() -> Result<(), Box<dyn std::error::Error>> {
        let temp = tempfile::tempdir()?;
        let path = temp.path().join("a/b");
        let folder = OutputDir::create(&path)?;
        let error = OutputDir::create(&path).expect_err("taken");
        assert!(
            error.to_string().ends_with("a/b: another program is writing to this folder"),
            "{error}"
        );
        assert!(error.is_config());
        let inside = folder.inside("c")?;
        drop(folder);
        OutputDir::reopen(&path).expect_err("a folder inside is still in use");
        fs::remove_dir(inside.path())?;
        drop(inside);
        let folder = OutputDir::create(&path)?; // it holds only the lock
        folder.write("x.json", b"first")?;
        folder.write("x.json", b"second")?;
        assert_eq!((folder.read("x.json")?, fs::read_dir(&path)?.count()), (b"second".to_vec(), 2));
        let error = OutputDir::create(&path).expect_err("taken");
        assert!(
            error.to_string().ends_with("a/b: another program is writing to this folder"),
            "{error}"
        );
        drop(folder);
        assert_eq!(OutputDir::reopen(&path)?.read("x.json")?, b"second");
        let error = OutputDir::create(&path).expect_err("not empty");
        assert!(
            error.to_string().ends_with("a/b: the folder is not empty, and nothing is overwritten"),
            "{error}"
        );
        assert!(error.is_config());
        Ok(())
    }

    #[test]
    fn paths_that_cannot_be_folders_are_refused() -> Result<(), Box<dyn std::error::Error>> {
        let temp = tempfile::tempdir()?;
        let file = temp.path().join("file");
        fs::write(&file, "x")?;
        let error = OutputDir::create(&file).expect_err("a file");
        assert!(error.to_string().ends_with("file: expected a folder, found a file"), "{error}");
        assert!(OutputDir::create(Path::new("")).expect_err("no path").is_config());
        let error = OutputDir::create(&file.join("below")).expect_err("below a file");
        assert!(error.to_string().ends_with("file/below: cannot be made"), "{error}");
        assert!(!error.is_config());
        // The last name is longer than file systems allow.
        OutputDir::create(&temp.path().join("new/folder").join("x".repeat(300)))
            .expect_err("too long");
        assert_eq!(fs::read_dir(temp.path())?.count(), 1, "only the file is there");
        Ok(())
    }
}
