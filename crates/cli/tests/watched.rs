//! Progress during a comparison.

use crate::program::compare;
use anyhow::{Context, Result};
#[cfg(target_os = "linux")]
use {
    crate::program::{command, Ended},
    anyhow::ensure,
    std::path::Path,
    std::process::{Command, Stdio},
};

const ARGS: &str = "--length 8 --variants vanilla,gru --seeds 1 --steps 20 --jobs 1 --out out";

/// Without a terminal, every run that ends has a line with its results.
#[test]
fn lines_carry_the_metrics() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let ended = compare(temp.path(), ARGS)?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let lines: Vec<&str> = ended.err.lines().collect();
    for (line, (layer_id, name)) in lines.iter().zip([("[1/2]", "vanilla"), ("[2/2]", "gru")]) {
        let start = format!("{layer_id} {name} seed 0: not solved in 20 steps, loss ");
        let rest = line.strip_prefix(&start).with_context(|| format!("{start}: {line}"))?;
        let (loss, rest) =
            rest.split_once(", half-life of h ").with_context(|| line.to_string())?;
        assert!(loss.parse::<f64>()? > 0.0, "{line}");
        let (half_lives, rest) = rest.split_once(", ").with_context(|| line.to_string())?;
        let (before, after) = half_lives.split_once(" → ").with_context(|| line.to_string())?;
        // The gradient decays, is level, grows, or leaves too few lags for a fit.
        let grows = after.strip_prefix("×2 in ").map(str::parse::<f64>).is_some_and(|x| x.is_ok());
        let told = ["–", "none"].contains(&after) || grows || after.parse::<f64>()? > 0.0;
        assert!(before.parse::<f64>()? > 0.0 && told, "{line}");
        assert!(rest.contains(" s, about ") && rest.ends_with(" s left"), "{line}");
    }
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(ended.err.ends_with(", about 0 s left\n"), "{}", ended.err);
    let quiet = compare(temp.path(), &ARGS.replace("out out", "out quiet --quiet --plain"))?;
    quiet.well();
    Ok(())
}

/// A terminal gets bars or a screen, unless lines are requested.
#[test]
#[cfg(target_os = "linux")]
fn lines_can_be_requested_on_a_terminal() -> Result<()> {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!(
            "lines_can_be_requested_on_a_terminal: NOT RUN, there is no `script` of util-linux"
        );
        return Ok(());
    }
    let temp = tempfile::tempdir()?;
    let drawn = on_terminal(temp.path(), ARGS)?;
    assert!(drawn.contains('\x1b'), "{drawn}");
    let plain = on_terminal(temp.path(), &ARGS.replace("out out", "out plain --plain"))?;
    assert!(
        !plain.contains('\x1b') && plain.contains("[2/2] gru seed 0: not solved in 20 steps"),
        "{plain}"
    );
    Ok(())
}

/// The output of `compare args` on a terminal.
#[cfg(target_os = "linux")]
fn on_terminal(folder: &Path, args: &str) -> Result<String> {
    let compare = command("", folder, args);
    let words = std::iter::once(compare.get_program()).chain(compare.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let mut script = Command::new("script");
    script
        .args(["-q", "-e", "-c", &words.join(" "), "/dev/null"])
        .current_dir(folder)
        .stdin(Stdio::null());
    let ended = Ended::of(script.env("TERM", "xterm-256color").env("SHELL", "/bin/sh"))?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(ended.out)
}
