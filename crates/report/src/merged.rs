//! One report on several comparisons: of different machines, days, variants or tasks.

use super::about::About;
use super::figures::Figures;
use super::group::Group;
use super::numbers::{count, seconds};
use super::page::{self, Cell, Facts, Head, Link, Row, Table, TableHead, Terms};
use super::run::RunView;
use super::view::ComparisonView;
use super::{table, verdict, wrap, write_figures};
use crate::dir::OutputDir;
use crate::record::{Records, RunRecord};
use crate::usage::bail_config;
use askama::Template;
use recurrent_records::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A comparison in a folder.
pub struct Source {
    /// Its label: the shortest end of its path that differs from the others.
    pub label: String,
    /// Its folder.
    pub path: PathBuf,
    /// Its records.
    pub records: Records,
    about: About,
}

/// Reads the folders of comparisons, ablations and sweeps. A sweep has one comparison per length.
///
/// # Errors
/// A [`ConfigError`](crate::usage::ConfigError) if a folder holds something else, or occurs twice.
pub fn sources(folders: &[PathBuf]) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    for folder in folders {
        match lengths(folder) {
            lengths if lengths.is_empty() => paths.push(folder.clone()),
            lengths => paths.extend(lengths),
        }
    }
    let mut known = BTreeSet::new();
    for path in &paths {
        if !known.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())) {
            bail_config!("{}: expected once, found twice", path.display());
        }
    }
    let read = |(path, label): (PathBuf, String)| {
        let about = About::read(&path)?;
        Ok(Source { records: Records::read(&path)?, label, path, about })
    };
    let labels = labels(&paths);
    paths.into_iter().zip(labels).map(read).collect()
}

/// The comparisons of a sweep, by length; empty if the folder is not that of a sweep.
fn lengths(folder: &Path) -> Vec<PathBuf> {
    if folder.join("runs.jsonl").exists() {
        return Vec::new();
    }
    let length =
        |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("length-")?.parse::<usize>().ok();
    let inside = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<_> = inside.filter_map(|path| Some((length(&path)?, path))).collect();
    all.sort();
    all.into_iter().map(|(_, path)| path).collect()
}

/// The shortest ends of the paths that all differ.
fn labels(paths: &[PathBuf]) -> Vec<String> {
    let end = |path: &PathBuf, parts: usize| {
        let whole = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let all: Vec<_> = whole.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let most = 64; // longer ends may be equal
    let ends = |parts: usize| paths.iter().map(|path| end(path, parts)).collect::<Vec<_>>();
    let differ =
        |labels: &Vec<String>| labels.iter().collect::<BTreeSet<_>>().len() == labels.len();
    (1..most).map(ends).find(differ).unwrap_or_else(|| ends(most))
}

/// The records by task, length and data, in the order of the first source of each. A variant that
/// occurs in several sources of a group is named after its source too. If the sources of a group
/// were trained differently, all of its variants are.
pub fn groups(sources: &[Source]) -> Vec<Records> {
    grouped(sources).into_iter().map(|group| group.records).collect()
}

/// Records that fit into one table.
struct MergedGroup {
    records: Records,
    /// Its distinction from another group of the same task and length: the labels of its sources;
    /// empty if there is no other.
    among: String,
}

/// The properties that the runs of a group share: task, length, data, and the baseline, which
/// distinguishes a validation part from a test set.
#[derive(PartialEq)]
struct Same<'a> {
    task: &'a str,
    length: usize,
    data: Option<&'a str>,
    baseline: u64,
}

impl<'a> Same<'a> {
    fn of(run: &'a RunRecord) -> Self {
        let (task, length, data) = (run.task(), run.length(), run.data());
        Self { task, length, data, baseline: run.config.task.baseline.to_bits() }
    }

    /// The runs of a source that belong to this group.
    fn runs<'s>(&'s self, source: &'s Source) -> impl Iterator<Item = &'s RunRecord> {
        source.records.runs.iter().filter(move |run| Same::of(run) == *self)
    }
}

fn grouped(sources: &[Source]) -> Vec<MergedGroup> {
    let mut all: Vec<Same> = Vec::new();
    for run in sources.iter().flat_map(|source| &source.records.runs) {
        if !all.contains(&Same::of(run)) {
            all.push(Same::of(run));
        }
    }
    let of = |same: &Same| {
        let alike = all
            .iter()
            .filter(|other| (other.task, other.length) == (same.task, same.length))
            .count();
        let inside = sources.iter().filter(|source| same.runs(source).next().is_some());
        let labels: Vec<&str> = inside.map(|source| source.label.as_str()).collect();
        let among = if alike > 1 { labels.join(", ") } else { String::new() };
        MergedGroup { records: group(sources, same), among }
    };
    all.iter().map(of).collect()
}

fn group(sources: &[Source], same: &Same) -> Records {
    let within = |source| -> BTreeSet<String> {
        same.runs(source).map(|run| run.config.model.variant.clone()).collect()
    };
    let trained = |source| -> BTreeSet<String> {
        let runs = same.runs(source);
        runs.map(|run| format!("{} {} {} {}", run.max_steps(), run.batch(), run.lr(), run.dtype()))
            .collect()
    };
    let mut in_how_many: BTreeMap<String, usize> = BTreeMap::new();
    for variant in sources.iter().flat_map(within) {
        *in_how_many.entry(variant).or_default() += 1;
    }
    let ways: BTreeSet<_> = sources.iter().map(trained).filter(|ways| !ways.is_empty()).collect();
    let (mut all, mut order) = (Records::default(), Vec::new());
    for source in sources {
        let own = within(source);
        let named = |variant: &str| match in_how_many.get(variant) {
            Some(1) if ways.len() == 1 => variant.to_owned(),
            _ => format!("{variant} · {}", source.label),
        };
        macro_rules! take {
            ($($lines:ident),*) => {$(
                let lines = source.records.$lines.iter();
                for line in lines.filter(|line| own.contains(&line.variant)) {
                    let mut line = line.clone();
                    line.variant = named(&line.variant);
                    all.$lines.push(line);
                }
            )*};
        }
        for run in same.runs(source) {
            if !order.contains(&run.config.model.variant) {
                order.push(run.config.model.variant.clone());
            }
        }
        take!(steps, evals, profiles, measures);
        for run in source.records.runs.iter().filter(|run| own.contains(&run.config.model.variant))
        {
            let mut run = run.clone();
            run.config.model.variant = named(&run.config.model.variant);
            all.runs.push(run);
        }
    }
    // Puts the same variant of several sources side by side, in the order of the sources.
    let base = |name: &str| name.split_once(" · ").map_or(name, |(base, _)| base).to_owned();
    all.runs
        .sort_by_key(|run| order.iter().position(|name| *name == base(&run.config.model.variant)));
    all
}

/// Tables and verdicts of all groups for a terminal `width` columns wide.
pub fn merged(sources: &[Source], width: usize) -> String {
    let mut text = String::new();
    for group in grouped(sources) {
        let comparison = Group { among: group.among, ..Group::new(&group.records) };
        text += &format!("{}\n", table::terminal(&comparison, width));
        for (name, verdict) in verdict::all(&comparison) {
            text += &wrap(&format!("{name}: {verdict}"), width, "  ");
        }
        text.push('\n');
    }
    text
}

/// Writes `report.html` on all of them, and its plots.
///
/// # Errors
/// If a file cannot be written.
pub fn write_merged(sources: &[Source], command: &[String], folder: &OutputDir) -> Result<()> {
    let merged = grouped(sources);
    let mut groups: Vec<(Group, Figures)> = Vec::new();
    for (place, group) in merged.iter().enumerate() {
        let prefix = if merged.len() > 1 { format!("{}-", place + 1) } else { String::new() };
        let group = Group { prefix, among: group.among.clone(), ..Group::new(&group.records) };
        let figures = Figures::new(&group);
        groups.push((group, figures));
    }
    write_figures(groups.iter().flat_map(|(_, figures)| figures.all()), folder)?;
    folder.write("report.html", page(sources, &groups, command).as_bytes())
}

/// The page: the merged folders, then group by group.
#[derive(Template)]
#[template(path = "merged.html")]
struct MergedPage {
    head: Head,
    folders: Table,
    groups: Vec<ComparisonView>,
    terms: Terms,
}

fn page(sources: &[Source], groups: &[(Group, Figures)], command: &[String]) -> String {
    let comparisons = count(sources.len(), "comparison");
    let title = format!("{comparisons} on {}", count(groups.len(), "task"));
    let task = |(group, _): &(Group, Figures)| Link::new(&group.prefix, "task", &group.task());
    let views = groups.iter().enumerate().map(|(place, (group, figures))| {
        ComparisonView::new(group, figures, &About::default(), place == 0)
    });
    let merged = MergedPage {
        head: Head {
            question: "several comparisons in one report",
            title: title.clone(),
            conclusion: Vec::new(),
            cautions: Vec::new(),
            contents: if groups.len() > 1 { groups.iter().map(task).collect() } else { Vec::new() },
            facts: Facts::default(),
            command: command.join(" "),
        },
        folders: folders(sources),
        groups: views.collect(),
        terms: Terms::default(),
    };
    page::page(&title, &page::render(&merged))
}

/// One row per folder, with its place and time.
fn folders(sources: &[Source]) -> Table {
    let unknown = || "unknown".to_owned();
    let row = |source: &Source| {
        let (group, about) = (Group::new(&source.records), &source.about);
        let runs = match about.interrupted {
            true => format!("{}, interrupted", group.runs.len()),
            false => group.runs.len().to_string(),
        };
        let machine = about.machine.describe();
        let separator = if machine.is_empty() { "" } else { ", " };
        let device = group.distinct(|run| format!("{} {}", run.device(), run.dtype()));
        let cells = [
            group.task(),
            group.variants.len().to_string(),
            runs,
            group.distinct(|run| run.lr().to_string()),
            if about.started.is_empty() { unknown() } else { about.started.clone() },
            about.seconds.map_or_else(unknown, |time| format!("{} s", seconds(time))),
            format!("{device}{separator}{machine}"),
            group.distinct(|run| run.config.version.clone()),
        ];
        let cells = cells.map(|cell| Cell::new(cell).with_class("")).into();
        Row { name: source.label.clone(), hint: about.command.join(" "), cells, ..Row::default() }
    };
    let heads =
        ["task", "variants", "runs", "learning rate", "started", "took", "machine", "version"];
    Table {
        class: "runs",
        caption: "the folders that were merged".to_owned(),
        first: "folder",
        heads: heads.map(TableHead::plain).into(),
        rows: sources.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ProfileRecord;
    use crate::sample;
    use anyhow::Result;

    fn write(records: &Records, folder: &Path) -> Result<()> {
        let folder = OutputDir::create(folder)?;
        folder.write_lines("runs.jsonl", &records.runs)?;
        folder.write_lines("steps.jsonl", &records.steps)?;
        folder.write_lines("evals.jsonl", &records.evals)?;
        folder.write_lines("profiles.jsonl", &records.profiles)?;
        folder.write_lines("measures.jsonl", &records.measures)?;
        Ok(folder.write(
            "comparison.json",
            br#"{"machine": {"cores": 4, "os": "linux", "arch": "riscv64"}}"#,
        )?)
    }

    /// The records of one variant.
    fn only(variant: &str) -> Records {
        let mut all = sample::records();
        all.runs.retain(|run| run.config.model.variant == variant);
        all.steps.retain(|step| step.variant == variant);
        all.evals.retain(|eval| eval.variant == variant);
        all.profiles.retain(|profile| profile.variant == variant);
        all
    }

    #[test]
    fn other_data_give_another_group_and_other_training_another_name() -> Result<()> {
        let temp = tempfile::tempdir()?;
        let paths = ["mon", "tue", "wed"].map(|name| temp.path().join(name));
        let (mut other_data, mut other_batch) = (only("lstm"), only("vanilla"));
        other_data
            .runs
            .iter_mut()
            .for_each(|run| run.config.task.data = Some("0123abcd".to_owned()));
        other_batch.runs.iter_mut().for_each(|run| run.config.training.batch += 1);
        for (records, path) in [&only("lstm"), &other_data, &other_batch].into_iter().zip(&paths) {
            write(records, path)?;
        }
        let sources = sources(&paths)?;
        let groups = groups(&sources);
        let names = |records: &Records| -> Vec<String> {
            Group::new(records).variants.iter().map(|variant| variant.name.to_owned()).collect()
        };
        assert_eq!(
            groups.iter().map(names).collect::<Vec<_>>(),
            [vec!["lstm · mon", "vanilla · wed"], vec!["lstm"]]
        );
        let text = merged(&sources, 100);
        for head in ["adding, T = 100 (mon, wed)", "adding, T = 100 (tue)"] {
            assert_eq!(text.matches(head).count(), 1, "{head}: {text}");
        }
        Ok(())
    }

    #[test]
    fn folders_become_groups_and_names_differ() -> Result<()> {
        let temp = tempfile::tempdir()?;
        let paths = ["mon/run", "tue/run", "copy"].map(|name| temp.path().join(name));
        let all = sample::records();
        let part = only("lstm");
        let mut other = all.clone();
        other.runs.iter_mut().for_each(|run| run.config.task.name = "copy".to_owned());
        for (records, path) in [&all, &part, &other].into_iter().zip(&paths) {
            write(records, path)?;
        }
        let sources = sources(&paths)?;
        assert_eq!(
            sources.iter().map(|s| s.label.as_str()).collect::<Vec<_>>()[..2],
            ["mon/run", "tue/run"]
        );
        let read = &sources[0].records;
        assert_eq!((read.runs.len(), read.steps.len()), (all.runs.len(), all.steps.len()));
        assert_eq!((read.evals.len(), read.profiles.len()), (all.evals.len(), all.profiles.len()));
        for (read, written) in read.profiles.iter().zip(&all.profiles) {
            let name =
                |profile: &ProfileRecord| (profile.variant.clone(), profile.seed, profile.step);
            assert_eq!((name(read), &read.lag), (name(written), &written.lag));
            assert_eq!(
                read.median, written.median,
                "the values read back equal the written ones to the last bit"
            );
        }
        let groups = groups(&sources);
        assert_eq!(groups.len(), 2);
        let names: Vec<_> =
            Group::new(&groups[0]).variants.iter().map(|v| v.name.to_owned()).collect();
        let expected = [
            "vanilla",
            "lstm · mon/run",
            "lstm · tue/run",
            "lstm-chrono",
            "residual-lstm",
            "broken & <b>",
        ];
        assert_eq!(names, expected);
        assert_eq!(groups[1].runs.len(), other.runs.len());
        let twice = Group::new(&groups[0]);
        assert_eq!(twice.variants[1].profiles.len(), twice.variants[2].profiles.len());

        let out = OutputDir::create(&temp.path().join("out"))?;
        write_merged(&sources, &["report".to_owned()], &out)?;
        let page = String::from_utf8(out.read("report.html")?)?;
        crate::tests::elements(&page);
        for words in [
            "3 comparisons on 2 tasks",
            "lstm · tue/run",
            "4 cores, linux riscv64",
            "id=\"2-profiles\"",
        ] {
            assert!(page.contains(words), "{words}");
        }
        assert!(out.path().join("plots/2-profiles-h-init.svg").exists());
        assert!(merged(&sources, 100).contains("copy, T = 100"));
        Ok(())
    }

    #[test]
    fn wrong_folders_are_refused() -> Result<()> {
        let temp = tempfile::tempdir()?;
        let refused = |path: &Path| match sources(&[path.to_path_buf()]) {
            Ok(_) => panic!("{} was taken", path.display()),
            Err(error) => {
                assert_eq!(1 + u8::from(error.is_config()), 2);
                error.to_string()
            }
        };
        assert!(refused(&temp.path().join("none"))
            .ends_with("none: expected a folder that a comparison has written, found nothing"));
        assert!(refused(temp.path()).ends_with("found no runs.jsonl"));
        let good = temp.path().join("good");
        write(&sample::records(), &good)?;
        let Err(error) = sources(&[good.clone(), good.clone()]) else { panic!("taken twice") };
        assert!(error.to_string().ends_with("good: expected once, found twice"));
        let steps = fs::read_to_string(good.join("steps.jsonl"))?;
        fs::write(good.join("steps.jsonl"), steps.replacen("\"loss\"", "\"los\"", 1))?;
        let error = refused(&good);
        let (place, what) =
            ("steps.jsonl, line 1, column ", ": expected a record, found missing field `loss`");
        assert!(error.contains(place) && error.ends_with(what), "{error}");
        fs::write(good.join("steps.jsonl"), steps)?;
        let runs = fs::read_to_string(good.join("runs.jsonl"))?;
        let (first, others) = runs.split_once('\n').expect("several runs");
        fs::write(good.join("runs.jsonl"), others)?;
        assert!(refused(&good).ends_with(
            "steps.jsonl: has lines of vanilla with seed 1, a run that runs.jsonl lacks"
        ));
        fs::write(good.join("runs.jsonl"), format!("{runs}{first}\n"))?;
        assert!(refused(&good).ends_with(": vanilla with seed 1 is there twice"));
        fs::write(good.join("runs.jsonl"), [runs.as_bytes(), b"\xff\n"].concat())?;
        assert!(refused(&good).ends_with(": expected UTF-8, found another byte"));
        fs::write(good.join("comparison.json"), "{")?;
        fs::write(good.join("runs.jsonl"), &runs)?;
        assert!(refused(&good).contains("comparison.json: cannot be read: "));
        fs::write(good.join("comparison.json"), "{}")?;
        fs::write(good.join("runs.jsonl"), "")?;
        assert!(refused(&good).ends_with("expected runs, found an empty runs.jsonl"));
        fs::remove_file(good.join("runs.jsonl"))?;
        assert!(refused(&good)
            .ends_with("an unfinished comparison; its program continues it with --resume"));
        Ok(())
    }
}
