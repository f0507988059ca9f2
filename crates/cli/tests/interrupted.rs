//! Signals, and paths that exist only on Unix.

use crate::program::{claims_command, command, lines, value, Ended};
use anyhow::{ensure, Context, Result};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A function that builds a program's command, as [`command`] does for `compare`.
type Program = fn(&str, &Path, &str) -> Command;

/// Starts a program that can be interrupted, even if the tests were started in the background with
/// signals ignored, as far as `env` of this system allows.
pub(crate) fn start(folder: &Path, args: &str, of: Program) -> Result<Child> {
    let before = "env --default-signal=INT,TERM,HUP";
    let known = Command::new("sh")
        .arg("-c")
        .arg(format!("{before} true"))
        .stderr(Stdio::null())
        .status()?;
    let mut command = of(if known.success() { before } else { "" }, folder, args);
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// Ctrl-C.
pub(crate) fn interrupt(child: &Child) -> Result<()> {
    let status = Command::new("kill").arg("-INT").arg(child.id().to_string()).status()?;
    ensure!(status.success(), "kill: {status}");
    Ok(())
}

/// Asserts that an interrupted comparison ended with its report, and returns its runs.
fn interrupted(child: Child, folder: &Path) -> Result<Vec<Value>> {
    let output = child.wait_with_output()?;
    let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    assert_eq!(output.status.code(), Some(130), "{out}{err}");
    assert!(out.ends_with("\nrecords and report: out/report.html\n"), "{out}");
    let report = fs::read_to_string(folder.join("out/report.html"))?;
    assert!(report.trim_end().ends_with("</html>"));
    let header = value(&folder.join("out/comparison.json"))?;
    assert!(header["interrupted"] == true && header["seconds"].is_f64(), "{header}");
    lines(&folder.join("out/runs.jsonl"))
}

#[test]
fn an_interruption_keeps_finished_runs() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let args = "--length 8 --variants vanilla,gru --seeds 10000 --steps 20 --jobs 2 --out out";
    let mut child = start(temp.path(), args, command)?;
    let mut progress = BufReader::new(child.stderr.take().context("it is piped")?);
    let mut line = String::new();
    progress.read_line(&mut line)?;
    assert!(line.starts_with("[1/20000] "), "the first run has ended: {line}");
    interrupt(&child)?;
    let mut rest = String::new();
    progress.read_to_string(&mut rest)?;
    assert!(rest.contains("\nstopping after this step; finished runs are kept."), "{rest}");

    let runs = interrupted(child, temp.path())?;
    let ended = 1 + rest.lines().filter(|line| line.starts_with('[')).count();
    let folders = fs::read_dir(temp.path().join("out/runs"))?.count();
    assert_eq!((runs.len(), folders), (ended, ended), "{rest}");
    let with = |status: &str| runs.iter().filter(|run| run["status"] == status).count();
    assert!(with("finished") > 0 && with("finished") + with("stopped") == runs.len(), "{runs:?}");
    let steps = runs.iter().filter_map(|run| run["outcome"]["steps"].as_u64()).sum::<u64>();
    assert_eq!(lines(&temp.path().join("out/steps.jsonl"))?.len() as u64, steps);
    Ok(())
}

#[test]
fn an_interruption_ends_a_long_run() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let args =
        "--length 8 --variants vanilla --seeds 1 --steps 1000000000 --lr 1e-9 --quiet --out out";
    let mut child = start(temp.path(), args, command)?;
    let limit = Instant::now() + Duration::from_secs(120);
    while !temp.path().join("out/comparison.json").exists() {
        let ended = child.try_wait()?;
        assert!(ended.is_none() && Instant::now() < limit, "it does not start: {ended:?}");
        std::thread::yield_now();
    }
    interrupt(&child)?;
    let runs = interrupted(child, temp.path())?;
    let report = fs::read_to_string(temp.path().join("out/report.html"))?;
    assert!(!report.contains("It did not solve"), "an interrupted run is not judged");
    // There is no run if the signal came before its first step.
    assert!(runs.len() <= 1 && runs.iter().all(|run| run["status"] == "stopped"), "{runs:?}");
    Ok(())
}

#[test]
fn an_interruption_keeps_finished_claims() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let args = "--quick --seeds 3 --jobs 2 --only weight-gradient-norm,forget-gate --out out";
    let mut child = start(temp.path(), args, claims_command)?;
    let mut out = BufReader::new(child.stdout.take().context("it is piped")?);
    let mut line = String::new();
    out.read_line(&mut line)?;
    assert!(line.starts_with("1/2 weight-gradient-norm: "), "{line}");
    interrupt(&child)?;
    let mut rest = String::new();
    out.read_to_string(&mut rest)?;
    assert_eq!(child.wait()?.code(), Some(130), "{line}{rest}");
    assert!(rest.ends_with("\nrecords and report: out/claims.html\n"), "{rest}");
    let finished = lines(&temp.path().join("out/claims.jsonl"))?;
    assert_eq!(finished.len(), 1, "{rest}");
    assert_eq!(finished[0]["id"], "weight-gradient-norm");
    for name in ["claims.html", "claims.md"] {
        let text = fs::read_to_string(temp.path().join("out").join(name))?;
        assert!(
            text.contains("weight-gradient-norm") && !text.contains("id=\"forget-gate\""),
            "{name}: {text}"
        );
    }
    Ok(())
}

/// `nohup` makes the program ignore SIGHUP.
#[test]
fn a_comparison_runs_where_signals_are_ignored() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let args = "--length 8 --variants vanilla --seeds 1 --steps 2 --quiet --out out";
    Ended::of(&mut command("nohup", temp.path(), args))?.well();
    assert_eq!(lines(&temp.path().join("out/runs.jsonl"))?.len(), 1);
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_need_not_be_text() -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let temp = tempfile::tempdir()?;
    let out = std::ffi::OsStr::from_bytes(b"out\xff");
    let args = "--length 8 --variants vanilla --seeds 1 --steps 2 --quiet --out";
    let text = Ended::of(command("", temp.path(), args).arg(out))?.well();
    assert!(text.ends_with("\nrecords and report: out\u{fffd}/report.html\n"), "{text}");
    assert!(temp.path().join(out).join("report.html").is_file());
    Ok(())
}
