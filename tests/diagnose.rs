//! The diagnosis of a network adds at most ten lines, and the documentation shows those of
//! `examples/diagnose.rs`. Its suggestions link to existing sections.
//!
//! After a change of the example, this command updates the documentation:
//!
//! ```text
//! RECURRENT_WRITE_DOCS=1 cargo test --release --test tests diagnose
//! ```

use anyhow::{ensure, Context, Result};
use recurrent_measures::diagnosis::all_suggestions;
use std::{env, fs};

const EXAMPLE: &str = include_str!("../examples/diagnose.rs");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The difference to a program without diagnosis. Lines that end with `// +` are added, those in
/// comments with `// - ` are removed, and those that end with `// other` belong to the example
/// alone.
fn difference() -> String {
    let imports = EXAMPLE.lines().filter(|line| line.starts_with("use ") && line.ends_with("// +"));
    let body = EXAMPLE.lines().skip_while(|line| !line.contains("Diagnosis::new("));
    let last = |line: &&str| !line.contains("println!");
    let count = body.clone().take_while(last).count() + 1;
    let body = body.take(count).filter(|line| !line.ends_with("// other") && !line.is_empty());
    let mark = |line: &str| {
        let line = line.strip_prefix("    ").unwrap_or(line);
        if let Some(line) = line.strip_suffix(" // +") {
            format!("+{line}\n")
        } else if let Some((indent, line)) = line.split_once("// - ") {
            format!("-{indent}{line}\n")
        } else {
            format!(" {line}\n")
        }
    };
    let imports: String = imports.map(mark).collect();
    imports + "\n" + &body.map(mark).collect::<String>()
}

#[test]
fn the_documents_show_the_ten_lines_of_the_example() -> Result<()> {
    let expected = difference();
    let added = expected.lines().filter(|line| line.starts_with('+')).count();
    assert!((5..=10).contains(&added), "{expected}");

    for page in ["README.md", "docs/guide/diagnose.md"] {
        let path = format!("{ROOT}/{page}");
        let text = fs::read_to_string(&path)?;
        let (before, rest) =
            text.split_once("```diff\n").with_context(|| format!("{page}: no diff"))?;
        let (found, after) = rest.split_once("```").context("the block has no end")?;
        if env::var_os("RECURRENT_WRITE_DOCS").is_some() {
            fs::write(&path, format!("{before}```diff\n{expected}```{after}"))?;
        } else {
            ensure!(found == expected, "{page}: expected\n{expected}found\n{found}");
        }
    }
    Ok(())
}

/// A suggestion with a measured effect names a section of the claims.
#[test]
fn suggestions_point_to_sections_of_the_claims() {
    let document = include_str!("../docs/claims.md");
    for suggestion in all_suggestions() {
        let Some(evidence) = suggestion.evidence else { continue };
        let section = evidence.strip_prefix("docs/claims.md#").expect("a section of the claims");
        let anchor = format!("<a id=\"{section}\"></a>");
        assert!(document.contains(&anchor), "{}: no section {section}", suggestion.name);
    }
}
