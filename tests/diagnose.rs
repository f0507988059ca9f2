//! The diagnosis of one's own network takes at most ten added lines, and the README shows those of
//! the example.

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
