//! Where a comparison writes.

use crate::usage::mistake;
use anyhow::{bail, Context, Result};
use recurrent_core::write_whole;
use serde::Serialize;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A folder that was empty when it was taken, and can be written.
///
/// Files appear whole or not at all: they are written beside under another name, synced and renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// Takes `path`, which is made if it does not exist. Nothing that is there is ever overwritten.
    ///
    /// # Errors
    /// If it is not a folder, or not empty, or cannot be written; then nothing has been made.
    pub fn create(path: &Path) -> Result<Self> {
        let shown = path.display();
        if path.as_os_str().is_empty() {
            mistake!("out: expected a folder, found an empty path"); // which would be the present folder
        }
        match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    mistake!("out {shown}: the folder is not empty, and nothing is overwritten");
                }
            }
            Err(_) if path.is_file() => mistake!("out {shown}: expected a folder, found a file"),
            Err(_) => make(path).with_context(|| format!("out {shown}: cannot be made"))?,
        }
        let trial = path.join(".writable");
        File::create(&trial)
            .and_then(|_| fs::remove_file(&trial))
            .with_context(|| format!("out {shown}: cannot be written"))?;
        Ok(Self(path.to_path_buf()))
    }

    /// Takes `runs/<task>-<time>`, where the time is that of the start in UTC: `runs/adding-20250131-142233`. A number
    /// is added if that is taken.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create_default(task: &str) -> Result<Self> {
        let time = utc(SystemTime::now());
        let name = format!("runs/{task}-{}-{}", time[..10].replace('-', ""), time[11..19].replace(':', ""));
        for number in 1..1000 {
            let path = if number == 1 { name.clone() } else { format!("{name}-{number}") };
            if !Path::new(&path).exists() {
                return Self::create(Path::new(&path));
            }
        }
        bail!("out {name}: it exists, a thousand times over")
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A folder inside, which is made if it does not exist.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn inside(&self, name: &str) -> Result<Self> {
        let path = self.0.join(name);
        fs::create_dir_all(&path).with_context(|| format!("{}: cannot be made", path.display()))?;
        Ok(Self(path))
    }

    /// Writes a file: beside, synced, renamed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        write_whole(&path, content).with_context(|| format!("{}: cannot be written", path.display()))
    }

    /// Writes a JSON object a line.
    ///
    /// # Errors
    /// As [`Folder::write`].
    pub fn write_lines<T: Serialize>(&self, name: &str, records: &[T]) -> Result<()> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record)?;
            lines.push(b'\n');
        }
        self.write(name, &lines)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.0.join(name);
        fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))
    }
}

/// Makes a folder and those it lies in, all of them or none.
fn make(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(path).inspect_err(|_| {
        // Only those that were made can be removed, and only while they are empty.
        missing.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    })
}

/// A time in UTC as in ISO 8601: `2025-01-31T14:22:33Z`.
pub(crate) fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let (days, second) = (seconds / 86400, seconds % 86400);
    // Gregorian date of a day number (Hinnant, "chrono-compatible low-level date algorithms", civil_from_days): years
    // begin in March, so that the leap day is the last, and 146097 days make 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, wrap) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + wrap;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::exit_code;
    use std::time::Duration;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // date -u -d @N
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_folder_is_made_and_then_not_taken_again() -> Result<()> {
        let temp = tempfile::tempdir()?;
        let path = temp.path().join("a/b");
        let folder = Folder::create(&path)?;
        assert_eq!(fs::read_dir(&path)?.count(), 0, "the trial leaves nothing");
        Folder::create(&path)?; // still empty
        folder.write("x.json", b"first")?;
        folder.write("x.json", b"second")?;
        assert_eq!((folder.read("x.json")?, fs::read_dir(&path)?.count()), (b"second".to_vec(), 1));
        let error = Folder::create(&path).expect_err("not empty");
        assert!(
            error.to_string().ends_with("a/b: the folder is not empty, and nothing is overwritten"),
            "{error}"
        );
        assert_eq!(exit_code(&error), 2);
        Ok(())
    }

    #[test]
    fn what_cannot_be_a_folder_is_refused() -> Result<()> {
        let temp = tempfile::tempdir()?;
        let file = temp.path().join("file");
        fs::write(&file, "x")?;
        let error = Folder::create(&file).expect_err("a file");
        assert!(error.to_string().ends_with("file: expected a folder, found a file"), "{error}");
        assert_eq!(exit_code(&Folder::create(Path::new("")).expect_err("no path")), 2);
        let error = Folder::create(&file.join("below")).expect_err("below a file");
        assert!(error.to_string().ends_with("file/below: cannot be made"), "{error}");
        assert_eq!(exit_code(&error), 1);
        // The last name is longer than file systems take.
        Folder::create(&temp.path().join("new/folder").join("x".repeat(300))).expect_err("too long");
        assert_eq!(fs::read_dir(temp.path())?.count(), 1, "only the file is there");
        Ok(())
    }
}
