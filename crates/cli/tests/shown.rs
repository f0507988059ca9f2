//! Output without a comparison: the lists and the help, and where they are printed.

use crate::program::{command, compare, tree, Ended};
use anyhow::{Context, Result};
use std::fs::File;

/// The documented options.
const OPTIONS: &str =
    "task length variants list seeds seed-offset steps epochs hidden params batch lr clip dtype \
                       device jobs data out quick plain quiet";

/// The minimal set of default variants.
const DEFAULT: &str =
    "vanilla vanilla-orthogonal lstm lstm-bias1 lstm-chrono gru residual-lstm residual-vanilla \
                       layernorm-lstm layernorm-gru";

#[test]
fn all_variants_are_listed() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let out = compare(temp.path(), "--list")?.well();
    let listed =
        |line: &str| Some((line.starts_with("* "), line[2..].split_once(' ')?.0.to_string()));
    let listed: Vec<_> = out.lines().filter_map(listed).collect();
    let known = recurrent::registry::variants();
    let known: Vec<_> = known.iter().map(|entry| (entry.default, entry.name.to_string())).collect();
    assert_eq!(listed, known);
    for name in DEFAULT.split(' ') {
        assert!(
            listed.contains(&(true, name.to_string())),
            "{name} is not among the default variants: {out}"
        );
    }
    assert!(tree(temp.path())?.is_empty(), "it makes no folder");
    Ok(())
}

#[test]
fn all_options_are_explained() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let out = compare(temp.path(), "--help")?.well();
    for option in OPTIONS.split(' ') {
        let start = format!("      --{option} "); // other lines are further in
        let rest = out.lines().find_map(|line| line.strip_prefix(&start));
        let rest = rest.with_context(|| format!("--{option} is not in {out}"))?;
        let help = rest
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'))
            .map_or(rest, |(_, help)| help)
            .trim();
        assert!(help.len() > 5, "--{option} has no help in {out}");
    }
    assert!(tree(temp.path())?.is_empty(), "it makes no folder");
    Ok(())
}

#[test]
fn a_closed_pipe_is_no_failure_but_a_full_disk_is() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    Ended::of(command("", temp.path(), "--list").stdout(writer))?.well();
    if cfg!(target_os = "linux") {
        let full = File::options().write(true).open("/dev/full")?;
        let lost = Ended::of(command("", temp.path(), "--list").stdout(full))?;
        assert!(lost.err.starts_with("error: the standard output cannot be written: "), "{lost:?}");
        assert_eq!((lost.code, lost.err.lines().count()), (Some(1), 1), "{lost:?}");
    }
    Ok(())
}
