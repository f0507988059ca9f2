//! Records in order: by variant, then by seed.

use super::numbers::{count, Precision, ProfileScale, Spread};
use super::run::RunView;
use super::trend::Phase;
use crate::record::{
    EvalRecord, MeasureRecord, ProfileRecord, Records, RunRecord, Status, StepRecord,
};
use std::collections::BTreeMap;

/// A comparison, grouped.
pub(super) struct Group<'a> {
    /// The variants, in the order of their first run.
    pub(super) variants: Vec<VariantRuns<'a>>,
    /// All runs, in the order of the records.
    pub(super) runs: &'a [RunRecord],
    /// The prefix of the names of its files and of its ids in a page; empty if it is alone on the
    /// page.
    pub(super) prefix: String,
    /// Its distinction from other groups on the same task; empty if there are none.
    pub(super) among: String,
}

/// All records of a variant.
pub(super) struct VariantRuns<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its position in the comparison, from 0. It determines colour and dash.
    pub(super) index: usize,
    /// Its runs, by seed; at least one.
    pub(super) runs: Vec<&'a RunRecord>,
    /// The training steps of each seed, in order.
    pub(super) steps: BTreeMap<u64, Vec<&'a StepRecord>>,
    /// The evaluations of each seed, in order.
    pub(super) evals: BTreeMap<u64, Vec<&'a EvalRecord>>,
    /// Its profiles, by training step.
    pub(super) profiles: Vec<&'a ProfileRecord>,
    /// Its other measures, in the order of the records.
    pub(super) measures: Vec<&'a MeasureRecord>,
}

impl<'a> Group<'a> {
    /// Groups records. Those of a run without a line in `runs` are left out.
    pub(super) fn new(records: &'a Records) -> Self {
        let mut variants: Vec<VariantRuns<'a>> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for run in &records.runs {
            let place = *places.entry(&run.config.model.variant).or_insert_with(|| {
                variants.push(VariantRuns::new(&run.config.model.variant, variants.len()));
                variants.len() - 1
            });
            variants[place].runs.push(run);
        }
        let of = |variant: &str| places.get(variant).copied();
        for step in &records.steps {
            if let Some(place) = of(&step.variant) {
                variants[place].steps.entry(step.seed).or_default().push(step);
            }
        }
        for eval in &records.evals {
            if let Some(place) = of(&eval.variant) {
                variants[place].evals.entry(eval.seed).or_default().push(eval);
            }
        }
        for profile in &records.profiles {
            if let Some(place) = of(&profile.variant) {
                variants[place].profiles.push(profile);
            }
        }
        for measure in &records.measures {
            if let Some(place) = of(&measure.variant) {
                variants[place].measures.push(measure);
            }
        }
        for variant in &mut variants {
            variant.sort();
        }
        Self { variants, runs: &records.runs, prefix: String::new(), among: String::new() }
    }

    /// The name of a file, or an id in the page.
    pub(super) fn id(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The seeds in order, without duplicates.
    pub(super) fn seeds(&self) -> Vec<u64> {
        let mut seeds: Vec<u64> = self.runs.iter().map(|run| run.seed()).collect();
        seeds.sort_unstable();
        seeds.dedup();
        seeds
    }

    /// The different values of a property of the runs, joined: `f32`, or `f32, f64`.
    pub(super) fn distinct(&self, value: impl Fn(&RunRecord) -> String) -> String {
        let mut found: Vec<String> = Vec::new();
        for value in self.runs.iter().map(value) {
            if !found.contains(&value) {
                found.push(value);
            }
        }
        found.join(", ")
    }

    /// `adding, T = 100`.
    pub(super) fn task(&self) -> String {
        let task = self.distinct(|run| format!("{}, T = {}", run.task(), run.length()));
        if self.among.is_empty() {
            task
        } else {
            format!("{task} ({})", self.among)
        }
    }

    /// The precision of the gradients.
    pub(super) fn precision(&self) -> Precision {
        Precision::of(self.runs.first().map_or("f32", |run| run.dtype()))
    }

    /// The scale by which its profiles are read.
    pub(super) fn profile_scale(&self) -> ProfileScale {
        let length = self.runs.iter().map(|run| run.length()).max().unwrap_or(0);
        ProfileScale { precision: self.precision(), length }
    }

    /// Warnings that precede the numbers: failed and interrupted runs, a single seed.
    pub(super) fn cautions(&self) -> Vec<String> {
        let mut cautions = Vec::new();
        if self.runs.is_empty() {
            cautions.push("No run has ended: there is nothing to compare.".to_owned());
            return cautions;
        }
        let failed: Vec<String> = self
            .runs
            .iter()
            .filter_map(|run| match &run.status {
                Status::Failed(why) => {
                    Some(format!("{} (seed {}): {why}", run.config.model.variant, run.seed()))
                }
                _ => None,
            })
            .collect();
        if !failed.is_empty() {
            let runs = count(failed.len(), "run");
            cautions.push(format!(
                "{runs} failed and {} left out of the medians of the loss: {}.",
                if failed.len() == 1 { "is" } else { "are" },
                failed.join("; ")
            ));
        }
        let stopped: Vec<String> = self
            .runs
            .iter()
            .filter(|run| run.status == Status::Stopped)
            .map(|run| {
                format!(
                    "{} (seed {}) after {} of {} steps",
                    run.config.model.variant,
                    run.seed(),
                    run.outcome.steps,
                    run.max_steps()
                )
            })
            .collect();
        if !stopped.is_empty() {
            let (runs, was, is) = match stopped.len() {
                1 => ("1 run".to_owned(), "was", "is"),
                more => (format!("{more} runs"), "were", "are"),
            };
            let names = stopped.join("; ");
            cautions.push(format!("{runs} {was} interrupted and {is} not judged: {names}."));
        }
        let most = self.variants.iter().map(|variant| variant.runs.len()).max().unwrap_or(0);
        if most == 1 {
            cautions.push(
                "One seed only: a single run is an anecdote, not a finding. Use several seeds."
                    .to_owned(),
            );
        }
        let fewer: Vec<String> = self
            .variants
            .iter()
            .filter(|variant| variant.runs.len() < most)
            .map(|variant| format!("{} ({} of {most})", variant.name, variant.runs.len()))
            .collect();
        if !fewer.is_empty() {
            cautions
                .push(format!("Some variants have fewer runs than others: {}.", fewer.join(", ")));
        }
        cautions
    }
}

impl<'a> VariantRuns<'a> {
    fn new(name: &'a str, index: usize) -> Self {
        let (steps, evals) = (BTreeMap::new(), BTreeMap::new());
        Self {
            name,
            index,
            runs: Vec::new(),
            steps,
            evals,
            profiles: Vec::new(),
            measures: Vec::new(),
        }
    }

    fn sort(&mut self) {
        self.runs.sort_by_key(|run| run.seed());
        self.steps.values_mut().for_each(|steps| steps.sort_by_key(|step| step.step));
        self.evals.values_mut().for_each(|evals| evals.sort_by_key(|eval| eval.step));
        self.profiles.sort_by_key(|profile| (profile.step, profile.seed));
    }

    /// Its first run, which represents all where they cannot differ.
    pub(super) fn first(&self) -> &'a RunRecord {
        self.runs[0] // a variant is made when its first run is met
    }

    /// The runs that did not fail.
    pub(super) fn sound(&self) -> impl Iterator<Item = &'a RunRecord> + '_ {
        self.runs.iter().copied().filter(|run| !matches!(run.status, Status::Failed(_)))
    }

    /// The runs that were not interrupted, by which the variant is judged.
    pub(super) fn ended(&self) -> impl Iterator<Item = &'a RunRecord> + '_ {
        self.runs.iter().copied().filter(|run| run.status != Status::Stopped)
    }

    /// The number of runs that solved the task.
    pub(super) fn solved(&self) -> usize {
        self.runs.iter().filter(|run| run.outcome.solved).count()
    }

    /// Median and range of a number over all runs that have it.
    pub(super) fn spread(&self, value: impl Fn(&RunRecord) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| value(run)))
    }

    /// The same over the runs that did not fail, without non-finite values.
    pub(super) fn sound_spread(&self, value: impl Fn(&RunRecord) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.sound().filter_map(value).filter(|value| value.is_finite()))
    }

    /// The parts of the state that have profiles, `h` first, then the others by name.
    pub(super) fn parts(&self) -> Vec<&'a str> {
        let mut parts: Vec<&str> =
            self.profiles.iter().map(|profile| profile.part.as_str()).collect();
        parts.sort_unstable_by_key(|part| (*part != "h", *part));
        parts.dedup();
        parts
    }

    /// The layers with profiles, from the top, each with its directions.
    pub(super) fn layers(&self) -> Vec<(usize, &'a str)> {
        let mut layers: Vec<(usize, &str)> = self
            .profiles
            .iter()
            .map(|profile| (profile.layer, profile.direction.as_str()))
            .collect();
        layers.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        layers.dedup();
        layers
    }

    /// The profiles of one part of the state in one layer and direction, of any seed and step.
    pub(super) fn profiles_of(
        &self,
        part: &str,
        (layer, direction): (usize, &str),
    ) -> Vec<&'a ProfileRecord> {
        let wanted = |profile: &&&ProfileRecord| {
            profile.part == part && profile.layer == layer && profile.direction == direction
        };
        self.profiles.iter().filter(wanted).copied().collect()
    }

    /// The same for the top layer; the forward direction if there are two.
    pub(super) fn top_profiles(&self, part: &str) -> Vec<&'a ProfileRecord> {
        self.layers().first().map_or_else(Vec::new, |&top| self.profiles_of(part, top))
    }
}

/// The profiles at initialisation, or the last ones of each run.
pub(super) fn at<'a>(profiles: &[&'a ProfileRecord], phase: Phase) -> Vec<&'a ProfileRecord> {
    let wanted = |profile: &&&ProfileRecord| match phase {
        Phase::Init => profile.step == 0,
        Phase::Final => profile.last,
    };
    profiles.iter().filter(wanted).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn order_and_seeds() {
        let mut records = sample::records();
        records.runs.reverse();
        records
            .steps
            .push(StepRecord { variant: "of no run".to_owned(), ..records.steps[0].clone() });
        let comparison = Group::new(&records);
        let names: Vec<_> = comparison.variants.iter().map(|variant| variant.name).collect();
        assert_eq!(names, ["broken & <b>", "residual-lstm", "lstm-chrono", "lstm", "vanilla"]);
        assert_eq!(comparison.seeds(), [1, 2, 3]);
        assert_eq!(
            comparison.variants[3].runs.iter().map(|run| run.config.seed).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!(
            comparison.variants[1].layers(),
            [(1, "forward"), (0, "forward")],
            "the top layer first"
        );
        assert_eq!(comparison.variants[1].parts(), ["h", "c"]);
        assert!(comparison.variants[1].top_profiles("h").iter().all(|profile| profile.layer == 1));
        assert_eq!(comparison.task(), "adding, T = 100");
    }

    #[test]
    fn cautions() {
        let records = sample::records();
        let said = Group::new(&records).cautions().join("\n");
        assert!(said.contains("1 run failed and is left out"), "{said}");
        assert!(
            said.contains("broken & <b> (seed 3): the loss is not a number at step 40"),
            "{said}"
        );
        assert!(
            said.contains(
                "1 run was interrupted and is not judged: broken & <b> (seed 2) after 310 of 2000"
            ),
            "{said}"
        );
        assert!(!said.contains("anecdote"), "{said}");

        let mut one = sample::records();
        one.runs.retain(|run| run.config.seed == 1);
        assert!(Group::new(&one).cautions().join("").contains("anecdote"));
        one.runs.push(sample::run("lstm", 2));
        let said = Group::new(&one).cautions().join("");
        assert!(said.contains("fewer runs than others: vanilla (1 of 2)"), "{said}");
        assert!(Group::new(&Records::default()).cautions()[0].contains("nothing to compare"));
    }
}
