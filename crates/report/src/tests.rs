//! The report as a whole: well-formed, finite, escaped, and complete on disk.

use super::about::About;
use super::figures::{self, Figures};
use super::group::Group;
use super::page::{REPOSITORY, SCRIPT};
use super::sample;
use super::view;
use crate::dir::OutputDir;
use crate::record::Records;
use anyhow::Result;
use std::collections::BTreeSet;

/// HTML elements without an end tag.
const VOID: [&str; 5] = ["meta", "br", "!doctype", "?xml", "link"];

/// The start tags of markup with their attributes. Checks that every element is closed in order,
/// and that no bare `<`, `>` or `&` occurs in text.
pub(super) fn elements(markup: &str) -> Vec<(String, Vec<(String, String)>)> {
    let (mut all, mut open): (Vec<(String, _)>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = markup;
    while let Some(from) = rest.find('<') {
        let text = &rest[..from];
        if open.last().is_some_and(|name| name == "script") {
            // Its content is not markup; it extends to the end of the element.
            rest = &rest[rest.find("</script>").expect("a script ends")..];
            open.pop();
            rest = &rest["</script>".len()..];
            continue;
        }
        let style = open.last().is_some_and(|name| name == "style");
        assert!(style || !text.contains('>'), "a bare > in {text:?}");
        for (at, _) in text.match_indices('&') {
            let entity = text[at..].split_inclusive(';').next().unwrap_or_default();
            let known =
                ["&amp;", "&lt;", "&gt;", "&quot;", "&#34;", "&#38;", "&#39;", "&#60;", "&#62;"];
            assert!(known.contains(&entity), "{entity:?}");
        }
        let to = from + rest[from..].find('>').expect("a tag ends");
        let tag = &rest[from + 1..to];
        rest = &rest[to + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "in {tag:?}");
            continue;
        }
        let (closed, tag) = tag.strip_suffix('/').map_or((false, tag), |tag| (true, tag));
        let name = tag.split_whitespace().next().expect("a tag has a name").to_lowercase();
        all.push((name.clone(), attributes(&tag[name.len()..])));
        if !closed && !VOID.contains(&name.as_str()) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    all
}

/// The attributes of a start tag. All of them are quoted, except those without a value.
fn attributes(tag: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut rest = tag.trim_start();
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').expect("a quoted value ends");
        let name = name.rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(all.iter().all(|(known, _)| *known != name), "{name} twice in {tag:?}");
        all.push((name, value.to_owned()));
        rest = after.trim_start();
    }
    all
}

/// Checks that all coordinates of a drawing are numbers within or near its view box.
fn coordinates(markup: &str) {
    let mut bounds = (0.0, 0.0);
    for (name, attributes) in elements(markup) {
        for (attribute, value) in attributes {
            let numbers = || {
                let parts = value
                    .split(|c: char| !(c.is_ascii_digit() || ".-+eEna".contains(c) || c == 'i'));
                let parts: Vec<f64> = parts
                    .filter(|part| part.chars().any(|c| c.is_ascii_digit()))
                    .map(|part| {
                        part.parse().unwrap_or_else(|_| panic!("{attribute}={value:?} of {name}"))
                    })
                    .collect();
                parts
            };
            match attribute.as_str() {
                "viewBox" => bounds = (numbers()[2] + 50.0, numbers()[3] + 50.0),
                "d" | "x" | "y" | "x1" | "x2" | "y1" | "y2" | "cx" | "cy" => {
                    let most = bounds.0.max(bounds.1);
                    let inside = numbers().iter().all(|number| (-50.0..=most).contains(number));
                    assert!(inside, "{attribute}={value:?} of {name} in {bounds:?}");
                }
                _ => {}
            }
        }
    }
}

fn about() -> About {
    let command = ["compare", "--out", "<a> & \"b\""].map(str::to_owned).to_vec();
    About {
        command,
        started: "2025-01-31T14:22:33Z".to_owned(),
        seconds: Some(61.0),
        ..About::default()
    }
}

fn page(group: &Group, about: &About) -> String {
    view::page(group, &Figures::new(group), about)
}

#[test]
fn the_page_is_well_formed_and_needs_nothing() {
    for records in [sample::compare(&sample::TEN), sample::records(), Records::default()] {
        let page = page(&Group::new(&records), &about());
        let all = elements(&page);
        let ids: Vec<&str> = all
            .iter()
            .flat_map(|(_, attributes)| attributes.iter().filter(|(name, _)| name == "id"))
            .map(|(_, id)| id.as_str())
            .collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "ids are unique: {ids:?}");
        let mut links: Vec<&str> = Vec::new();
        for (name, attributes) in &all {
            assert!(!["link", "img", "iframe", "image"].contains(&name.as_str()), "{name}");
            for (attribute, value) in attributes {
                match attribute.as_str() {
                    "href" => match value.strip_prefix('#') {
                        Some(target) => assert!(ids.contains(&target), "{target}"),
                        None => links.push(value),
                    },
                    "fill" if value.starts_with("url(") => {
                        assert!(
                            ids.contains(&value.trim_start_matches("url(#").trim_end_matches(')')),
                            "{value}"
                        );
                    }
                    "src" => panic!("{value}"),
                    _ => {}
                }
            }
        }
        // Links to texts are for readers; the page loads nothing from outside.
        let mut outside = page.replace("http://www.w3.org/2000/svg", "");
        for link in links {
            let texts = [REPOSITORY, "https://arxiv.org/abs/", "https://doi.org/"];
            let own = link.starts_with("plots/") || link.starts_with("data:text/csv;");
            assert!(own || texts.iter().any(|text| link.starts_with(text)), "{link}");
            outside = outside.replace(&format!("href=\"{link}\""), "");
        }
        assert!(!outside.contains("http") && !outside.contains("@import"), "no network");
        assert!(!outside.contains("import(") && !outside.contains("fetch("), "no network");
        let shown = page.replace(SCRIPT, "");
        for word in ["NaN", ">inf", "-inf", "Infinity", " inf"] {
            assert!(!shown.contains(word), "{word}");
        }
        coordinates(&page);
    }
}

#[test]
fn the_page_of_ten_variants_is_small() {
    let records = sample::compare(&sample::TEN);
    let page = page(&Group::new(&records), &about());
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
}

#[test]
fn foreign_text_is_escaped() {
    let page = page(&Group::new(&sample::records()), &about());
    let scripts: Vec<_> = page
        .match_indices("<script")
        .map(|(at, _)| page[at..].lines().next().unwrap_or_default())
        .collect();
    assert!(scripts[0].starts_with("<script type=\"application/json\">{"), "{scripts:?}");
    assert_eq!(scripts[1..], ["<script>"], "the data and the program, no other");
    assert!(!page.contains("<b>"));
    assert!(
        page.contains("broken &#38; &#60;b&#62;")
            && page.contains("&#60;script&#62;alert(&#39;no&#39;)")
    );
    assert!(page.contains("compare --out &#60;a&#62; &#38; &#34;b&#34;"));
}

#[test]
fn the_page_states_the_numbers() {
    let mut records = sample::records();
    records.runs[0].gradients.init.h.fit = None;
    records.runs[0].gradients.trained.h.fit = None;
    records.runs[0].gradients.init.h.half_life = None;
    records.runs[1].gradients.init.h.underflow.lags = 12;
    records.runs[1].gradients.init.h.underflow.first = Some(88);
    records.runs[2].config.training.clip = crate::config::Clipping::Value(1.0);
    records.runs[3].warnings = vec!["bias_hh_l0: its gradient was zero".to_owned()];
    let page = page(&Group::new(&records), &about());
    for text in [
        "clipped element by element at 1",
        "<td class=\"none\">0/3</td>",
        "<td>1450<small>1400–1700</small></td>",
        "not solved in 2000 steps",
        "<td>too few points</td>",
        "<td>12<small>from lag 88 on</small></td>",
        "bias_hh_l0: its gradient was zero (seed 1)",
        "failed: the loss is not a number at step 40",
        "<td>interrupted<small>310 of 2000 steps</small></td>",
        "forget bias: 0",
        "a held-out loss below 0.01 in three evaluations in a row",
        "baseline 0.1667",
        "weight_hh_l0 0.60 (0.59–0.61)",
        "2025-01-31T14:22:33Z, took 61 s",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn plots_are_files_of_their_own() -> Result<()> {
    let temp = tempfile::tempdir()?;
    let folder = OutputDir::create(&temp.path().join("out"))?;
    folder.write(
        "comparison.json",
        br#"{"command": ["compare", "--seeds", "3"], "jobs": 2, "unknown": null}"#,
    )?;
    let records = sample::records();
    super::write(&records, &folder)?;
    let page = String::from_utf8(folder.read("report.html")?)?;
    assert!(page.contains("compare --seeds 3") && page.contains("2 runs at once"));

    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder.path().join("plots"))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        if path.extension().is_some_and(|ending| ending == "csv") {
            assert!(path.with_extension("svg").exists(), "{path:?}");
            assert!(text.starts_with("line,") || text.starts_with("step,lag,norm\n"), "{text}");
            assert!(text.lines().count() > 1 && !text.contains("NaN"), "{path:?}");
            continue;
        }
        assert!(
            text.contains("prefers-color-scheme: dark") && text.contains("class=\"paper\""),
            "{path:?}"
        );
        assert!(!text.contains("NaN") && !text.contains("inf\""), "{path:?}");
        coordinates(&text);
        names.insert(path.file_name().expect("a file").to_string_lossy().into_owned());
    }
    for name in [
        "profiles-h-init.svg",
        "profiles-h-final.svg",
        "profiles-c-init.svg",
        "loss-held-out.svg",
        "loss-training.svg",
        "layers-lstm-c.svg",
        "heat-vanilla-h.svg",
        "heat-residual-lstm-h-layer-1.svg",
        "heat-broken----b--5-h.svg",
    ] {
        assert!(names.contains(name), "{name} in {names:?}");
    }
    let hidden = std::fs::read_dir(folder.path())?.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".part"))
    });
    assert_eq!(hidden.count(), 0, "written beside, then renamed");
    Ok(())
}

#[test]
fn a_comparison_without_training_or_profiles_is_shown_too() {
    let mut records = sample::compare(&sample::TEN[..3]);
    (records.steps, records.evals) = (Vec::new(), Vec::new());
    records.profiles.retain(|profile| profile.step == 0);
    elements(&page(&Group::new(&records), &About::default()));
    assert!(figures::learning(&Group::new(&records)).is_empty());
    records.profiles.clear();
    let text = page(&Group::new(&records), &About::default());
    elements(&text);
    assert!(!text.contains("id=\"profiles\"") && !text.contains("id=\"heat\""));
    assert!(text.contains("id=\"table\""));
}

#[test]
fn an_accuracy_has_a_plot() {
    let mut records = sample::compare(&sample::TEN[..2]);
    for eval in &mut records.evals {
        eval.accuracy = Some(eval.step as f64 / 2500.0);
    }
    let all = figures::learning(&Group::new(&records));
    let plot = all.iter().find(|figure| figure.file == "accuracy").expect("a plot").content();
    assert!(plot.contains(">20 %<") && plot.contains(">100 %<"), "{plot}");
}

#[test]
fn non_finite_gradients_break_nothing() {
    let mut records = sample::records();
    for profile in records.profiles.iter_mut().filter(|profile| profile.variant == "lstm") {
        profile.median[20..].fill(f64::INFINITY);
        profile.median[10] = f64::NAN;
    }
    records.runs[3].gradients.init.h.ratio = Some(f64::INFINITY);
    records.evals[0].loss = f64::NAN;
    records.steps[0].loss = f64::INFINITY;
    let comparison = Group::new(&records);
    let text = page(&comparison, &About::default());
    coordinates(&text);
    assert!(text.contains("the gradient is not finite from lag 10 on"), "said in the verdict");
    assert!(!text.replace(SCRIPT, "").contains("NaN") && !text.contains(">inf"));
    assert!(!super::terminal(&records, 100).contains("NaN"));
}
