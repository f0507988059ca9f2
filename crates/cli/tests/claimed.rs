//! The subcommand `claims`.

use crate::program::{claims, lines, refuses};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Two claims, one that trains and one that does not, in their trial form.
const TRIAL: &str = "--quick --seeds 3 --only clipping-exploding,weight-gradient-norm --out out";

/// The names and texts of all claims.
fn listed() -> Result<Vec<(String, String)>> {
    let list = claims(Path::new("."), "--list")?.well();
    let pair = |line: &str| {
        line.split_once(' ').map(|(id, claim)| (id.to_string(), claim.trim().to_string()))
    };
    Ok(list.lines().filter_map(pair).collect())
}

#[test]
fn claims_are_printed_and_written() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let text = claims(temp.path(), TRIAL)?.well();
    assert!(
        text.starts_with(
            "1/2 clipping-exploding: “Gradient clipping cures exploding gradients.”\n"
        ),
        "{text}"
    );
    assert_eq!(text.lines().last(), Some("records and report: out/claims.html"));
    let out = temp.path().join("out");
    let (page, document) =
        (fs::read_to_string(out.join("claims.html"))?, fs::read_to_string(out.join("claims.md"))?);
    let findings = lines(&out.join("claims.jsonl"))?;
    assert_eq!(findings.len(), 2);
    for finding in &findings {
        documented(finding)?;
        let id = finding["id"].as_str().context("an id")?;
        assert_eq!(finding["verdict"], "open", "a trial decides nothing: {finding}");
        let because = finding["because"].as_str().context("a reason")?;
        assert!(because.starts_with("a trial, by whose numbers it would be"), "{because}");
        let command =
            format!("cargo run --release --example claims -- --only {id} --seeds 3 --quick");
        assert_eq!(finding["command"], command.as_str());
        assert!(
            page.contains(&format!("<section id=\"{id}\"")) && page.contains(&command),
            "{page}"
        );
        assert!(
            document.contains(&format!("<a id=\"{id}\"></a>")) && document.contains(&command),
            "{document}"
        );
        for name in ["claim", "prediction", "experiment", "rule"] {
            assert!(document.contains(finding[name].as_str().context("text")?), "{name} of {id}");
        }
    }
    assert!(page.trim_end().ends_with("</html>"));
    assert_eq!(
        (&findings[0]["unsolved"], &findings[1]["unsolved"]),
        (&6.into(), &0.into()),
        "60 steps solve nothing"
    );
    let runs = lines(&out.join("runs/clipping-exploding/runs.jsonl"))?;
    assert_eq!(runs.len(), 2 * 3, "every run is on record");
    let solved = |run: &&Value| run["outcome"]["solved"] == true;
    assert_eq!(runs.iter().filter(solved).count(), 0);
    Ok(())
}

/// Asserts that a line of `claims.jsonl` has exactly the fields documented in
/// crates/claims/README.md.
fn documented(finding: &Value) -> Result<()> {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../claims/README.md");
    let readme = fs::read_to_string(readme)?;
    let (_, section) =
        readme.split_once("## `claims.jsonl`").context("a section on claims.jsonl")?;
    let table = section
        .lines()
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with("| `"));
    let told: BTreeSet<_> = table.filter_map(|line| line.split('`').nth(1)).collect();
    let names = |value: &Value| -> Result<BTreeSet<String>> {
        Ok(value.as_object().context("an object")?.keys().cloned().collect())
    };
    assert!(
        names(finding)?.iter().map(String::as_str).eq(told.iter().copied()),
        "{told:?}: {finding}"
    );
    let strings = [
        "id",
        "claim",
        "prediction",
        "experiment",
        "rule",
        "verdict",
        "because",
        "command",
        "version",
    ];
    assert!(strings.iter().all(|name| finding[name].is_string()), "{finding}");
    assert!(
        ["unsolved", "failed"].iter().all(|name| finding[name].is_u64())
            && finding["seconds"].is_f64()
    );
    assert_eq!(finding["seeds"], serde_json::json!([0, 1, 2]));
    let measured = finding["measured"].as_array().context("numbers")?;
    assert!(measured.len() > 3);
    for one in measured {
        let expected = ["high", "kind", "low", "seeds", "unit", "value", "what"].map(String::from);
        assert!(names(one)?.into_iter().eq(expected), "{one}");
        let numbers: Option<Vec<_>> =
            ["low", "value", "high"].iter().map(|name| one[name].as_f64()).collect();
        assert!(numbers.context("finite numbers")?.is_sorted(), "{one}");
    }
    let literature = finding["literature"].as_array().context("sources")?;
    let whole = |source: &Value| {
        source["paper"].is_string() && source["says"].is_string() && source["read"].is_boolean()
    };
    assert!(!literature.is_empty() && literature.iter().all(whole), "{literature:?}");
    Ok(())
}

#[test]
fn the_same_claims_give_the_same_numbers() -> Result<()> {
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    claims(one.path(), &format!("{TRIAL} --jobs 2"))?.well();
    claims(two.path(), &format!("{TRIAL} --jobs 1"))?.well();
    let read = |folder: &Path, name: &str| fs::read(folder.join("out").join(name));
    for name in ["claims.md", "runs/clipping-exploding/evals.jsonl"] {
        assert!(read(one.path(), name)? == read(two.path(), name)?, "{name}");
    }
    let timeless = |folder: &Path| -> Result<Vec<Value>> {
        let mut findings = lines(&folder.join("out/claims.jsonl"))?;
        findings.iter_mut().for_each(|finding| finding["seconds"] = Value::Null);
        Ok(findings)
    };
    assert_eq!(timeless(one.path())?, timeless(two.path())?);
    Ok(())
}

#[test]
fn claims_are_listed_and_mistakes_refused_in_one_line() -> Result<()> {
    let temp = tempfile::tempdir()?;
    assert!(listed()?.len() >= 13 && listed()?[0].0 == "forget-gate");
    let cases = [
        (
            "--only forget-gat",
            "claim forget-gat: no such claim; the nearest is forget-gate, --list shows all",
        ),
        (
            "--only gates,clip",
            "claim clip: no such claim; the nearest is clipping-exploding, --list shows all",
        ),
        ("--only gates,gates", "claim gates: expected once, got twice"),
        ("--seeds 2", "seeds: expected 3 to 1000, since an interval needs some, got 2"),
        ("--jobs 0", "jobs: expected 1 to 1024, got 0"),
        ("--only ???", "claim ???: no such claim; --list shows all"),
    ];
    refuses(claims, &cases)?;
    for (folder, found) in [
        ("nowhere", "no such folder"),
        (".", "expected a folder of claims, found no comparison.json in it"),
    ] {
        let ended = claims(temp.path(), &format!("--resume {folder}"))?;
        let expected = format!("error: resume {folder}: {found}\n");
        assert_eq!((ended.code, ended.err), (Some(2), expected));
    }
    let both = claims(temp.path(), "--full --quick")?;
    assert_eq!(both.code, Some(2), "{both:?}");
    Ok(())
}

/// `docs/claims.md` is an output of the program: it has a section for every claim, and every link
/// to a section has a target.
#[test]
fn the_document_has_every_claim_and_no_dead_link() -> Result<()> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let document = fs::read_to_string(root.join("docs/claims.md"))?;
    let all = listed()?;
    for (id, claim) in &all {
        let heading = format!("<a id=\"{id}\"></a>\n\n## {claim}\n");
        assert!(
            document.contains(&heading),
            "docs/claims.md has no section {id}; write it anew with --example claims"
        );
    }
    assert!(!document.contains("a trial"), "docs/claims.md is what a run with the defaults wrote");
    let known: BTreeSet<_> = all.iter().map(|(id, _)| id.as_str()).collect();
    let mut pointers = 0;
    for file in ["docs/guide/diagnose.md", "examples/diagnose.rs"] {
        let text = fs::read_to_string(root.join(file))?;
        for pointer in text.split("docs/claims.md#").skip(1) {
            let id = pointer
                .split(|c: char| !c.is_ascii_lowercase() && c != '-')
                .next()
                .unwrap_or_default();
            assert!(known.contains(id), "{file}: docs/claims.md#{id} leads nowhere");
            pointers += 1;
        }
    }
    assert!(pointers > 3, "no link was checked");
    Ok(())
}
