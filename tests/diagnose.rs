//! The diagnosis of a network takes at most ten added lines, and the README shows those of the
//! example. Its suggestions point to sections that exist.

use recurrent_measures::diagnosis::all_suggestions;

const EXAMPLE: &str = include_str!("../examples/diagnose.rs");
const README: &str = include_str!("../README.md");

#[test]
fn ten_lines_at_most_and_those_of_the_readme() {
    let marked = EXAMPLE.lines().filter_map(|line| line.split_once(" // +"));
    let marked: Vec<_> = marked.map(|(code, _)| code.trim()).collect();
    assert!((5..=10).contains(&marked.len()), "{marked:#?}");

    let (_, section) = README.split_once("## My network does not learn").expect("a section");
    let (_, block) = section.split_once("```diff\n").expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let added: Vec<_> =
        block.lines().filter_map(|line| line.strip_prefix('+')).map(str::trim).collect();
    assert_eq!(added, marked);
}

/// A suggestion whose effect was measured names a section of the claims.
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
