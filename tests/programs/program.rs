//! Runs the examples as programs.

use anyhow::{ensure, Context, Result};
use recurrent_testkit::program::{command, Ended};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

static COMPARE: LazyLock<PathBuf> = LazyLock::new(|| built("compare"));
static CHAR_LM: LazyLock<PathBuf> = LazyLock::new(|| built("char_lm"));
static DIAGNOSE: LazyLock<PathBuf> = LazyLock::new(|| built("diagnose"));
static SEGMENT: LazyLock<PathBuf> = LazyLock::new(|| built("segment"));

fn built(example: &str) -> PathBuf {
    binary(example).expect("the example is there, or can be built")
}

/// The program of an example. `cargo test` also builds the examples, into a folder beside that of
/// the tests. `cargo test --test tests` does not, so the program may be missing or outdated.
fn binary(example: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile =
        test.parent().and_then(Path::parent).context("expected target/PROFILE/deps/TEST")?;
    let binary = profile.join(format!("examples/{example}{}", std::env::consts::EXE_SUFFIX));
    if !up_to_date(&binary).unwrap_or(false) {
        let name = profile.file_name().and_then(|name| name.to_str()).context("expected a name")?;
        let name = if name == "debug" { "dev" } else { name };
        let features = [
            ("cuda", cfg!(feature = "cuda")),
            ("cudnn", cfg!(feature = "cudnn")),
            ("live", cfg!(feature = "live")),
            ("metal", cfg!(feature = "metal")),
        ];
        let features = features.iter().filter_map(|(name, on)| on.then_some(*name));
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", example, "--profile", name]);
        cargo.arg("--features").arg(features.collect::<Vec<_>>().join(","));
        cargo.arg("--target-dir").arg(profile.parent().context("expected a folder")?);
        ensure!(
            cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status()?.success(),
            "{cargo:?} failed"
        );
    }
    Ok(binary)
}

/// Whether no source that cargo lists for the binary is newer.
fn up_to_date(binary: &Path) -> Result<bool> {
    let modified = |path: &Path| -> Result<SystemTime> { Ok(fs::metadata(path)?.modified()?) };
    let (built, sources) = (modified(binary)?, fs::read_to_string(binary.with_extension("d"))?);
    let older = |source: &str| modified(Path::new(source)).is_ok_and(|time| time <= built);
    Ok(sources.split_whitespace().skip(1).all(older))
}

fn run(binary: &Path, folder: &Path, args: &str) -> Result<Ended> {
    Ended::of(&mut command(&[binary.to_path_buf()], folder, args))
}

/// Runs `compare args` in a folder.
pub(crate) fn compare(folder: &Path, args: &str) -> Result<Ended> {
    run(&COMPARE, folder, args)
}

/// Runs `char_lm args` in a folder.
pub(crate) fn char_lm(folder: &Path, args: &str) -> Result<Ended> {
    run(&CHAR_LM, folder, args)
}

/// Runs `segment args` in a folder.
pub(crate) fn segment(folder: &Path, args: &str) -> Result<Ended> {
    run(&SEGMENT, folder, args)
}

/// Runs `diagnose`.
pub(crate) fn diagnose() -> Result<Ended> {
    run(&DIAGNOSE, Path::new("."), "")
}
