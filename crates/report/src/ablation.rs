//! Effects of modifiers for readers: tables and words.

pub(super) mod page;

use super::numbers::{count, loss, significant, steps};
use super::table::{aligned, wrap};
use super::trend::Trend;
use crate::effects::{Effect, Findings, Measure, Verdict, PAIRS, SIGNIFICANT};

/// Shown if no pair of runs has the number.
pub(super) const NO_PAIR: &str = "not measured";

/// Shown if there are too few pairs for an interval or a test.
pub(super) const TOO_FEW: &str = "too few pairs";

/// The whole output for a terminal `columns` columns wide.
pub(super) fn terminal(findings: &Findings, columns: usize) -> String {
    let Some(first) = findings.effects.first() else {
        return "no run has ended: there is nothing to compare\n".to_owned();
    };
    let mut text = wrap(&headline(first, findings), columns, "");
    for (measure, effects) in by_measure(findings) {
        text.push('\n');
        text += &wrap(&format!("{} ({})", measure.title(), direction(measure)), columns, "  ");
        let head =
            ["modifier", "without", "with", "effect", "95 % interval", "p", "pairs", "verdict"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(effects.iter().map(|effect| row(effect)));
        text += &aligned(&rows, columns);
    }
    text.push('\n');
    for modifier in modifiers(findings) {
        text += &wrap(&format!("{modifier}: {}", words(&of(findings, modifier))), columns, "  ");
    }
    text += &format!("\n{}", wrap(&rule(findings), columns, ""));
    for caution in cautions(findings) {
        text += &wrap(&format!("! {caution}"), columns, "  ");
    }
    text
}

/// The conclusion: how many modifiers help, and which hurt.
pub(super) fn conclusion(findings: &Findings) -> Vec<String> {
    let any = |modifier: &str, verdict| {
        of(findings, modifier).iter().any(|effect| effect.verdict == verdict)
    };
    let with = |verdict| -> Vec<&str> {
        modifiers(findings).into_iter().filter(|modifier| any(modifier, verdict)).collect()
    };
    let (helps, hurts) = (with(Verdict::Helps), with(Verdict::Hurts));
    let Some(first) = findings.effects.first() else { return Vec::new() };
    let number = count(modifiers(findings).len(), "modifier");
    let list = |names: &[&str]| match names {
        [] => String::new(),
        names => format!(" ({})", names.join(", ")),
    };
    let verb = |names: &[&str], verb: &str| {
        if names.len() == 1 {
            format!("{verb}s")
        } else {
            verb.to_owned()
        }
    };
    vec![format!(
        "Of {number} for {}, {} {} on at least one measure{}, and {} {} on at least one{}.",
        first.base,
        helps.len(),
        verb(&helps, "help"),
        list(&helps),
        hurts.len(),
        verb(&hurts, "hurt"),
        list(&hurts),
    )]
}

/// The comparison, in a line.
pub(super) fn headline(first: &Effect, findings: &Findings) -> String {
    let modifiers = count(modifiers(findings).len(), "modifier");
    let runs = count(first.base_runs, "run");
    format!(
        "{}, T = {} · {} with each of {modifiers} · {runs} each",
        first.task, first.length, first.base
    )
}

/// The cells of an effect.
fn row(effect: &Effect) -> Vec<String> {
    let value =
        |value: Option<f64>| value.map_or(NO_PAIR.to_owned(), |value| median(effect, value));
    vec![
        effect.modifier.clone(),
        value(effect.base_median),
        value(effect.modifier_median),
        effect.effect.map_or(NO_PAIR.to_owned(), |value| shown(effect.measure, value)),
        interval(effect),
        p(effect),
        effect.pairs.to_string(),
        effect.verdict.words().to_owned(),
    ]
}

/// The interval of an effect.
pub(super) fn interval(effect: &Effect) -> String {
    match (effect.low, effect.high) {
        (Some(low), Some(high)) => {
            format!("{} … {}", shown(effect.measure, low), shown(effect.measure, high))
        }
        _ if effect.effect.is_none() => NO_PAIR.to_owned(),
        _ => TOO_FEW.to_owned(),
    }
}

/// The probability of such an effect by chance.
pub(super) fn p(effect: &Effect) -> String {
    match effect.p {
        Some(p) => significant(p, 2),
        None if effect.effect.is_none() => NO_PAIR.to_owned(),
        None => TOO_FEW.to_owned(),
    }
}

/// A median, as a half-life if it is a rate.
pub(super) fn median(effect: &Effect, value: f64) -> String {
    match effect.measure {
        Measure::DecayInit | Measure::DecayFinal => Trend::of(value, effect.length).short(),
        Measure::HorizonInit | Measure::HorizonFinal | Measure::StepsToSolve => {
            format!("{value:.0}")
        }
        Measure::FinalLoss => loss(value),
    }
}

/// An effect, as a factor if it is a logarithm.
pub(super) fn shown(measure: Measure, value: f64) -> String {
    match measure {
        Measure::FinalLoss => format!("×{}", significant(value.exp(), 2)),
        _ if value == 0.0 => "0".to_owned(),
        Measure::DecayInit | Measure::DecayFinal => signed(value, significant(value.abs(), 2)),
        Measure::HorizonInit | Measure::HorizonFinal | Measure::StepsToSolve => {
            signed(value, steps(value.abs()))
        }
    }
}

fn signed(value: f64, text: String) -> String {
    format!("{}{text}", if value < 0.0 { '−' } else { '+' })
}

/// The meaning of an effect, and the direction of an improvement.
pub(super) fn direction(measure: Measure) -> &'static str {
    match measure {
        Measure::DecayInit | Measure::DecayFinal => {
            "medians are half-lives in steps; the effect is on |ρ|, the rate at which ln |dL/dh| \
             changes per step; less is better: the gradient is kept longer"
        }
        Measure::HorizonInit | Measure::HorizonFinal => "steps, more is better",
        Measure::StepsToSolve => "training steps within the budget, less is better",
        Measure::FinalLoss => "effect as a factor, less is better",
    }
}

/// The modifiers, in order.
pub(super) fn modifiers(findings: &Findings) -> Vec<&str> {
    let mut modifiers: Vec<&str> = Vec::new();
    for effect in &findings.effects {
        if !modifiers.contains(&effect.modifier.as_str()) {
            modifiers.push(&effect.modifier);
        }
    }
    modifiers
}

/// Whether the task has a criterion for being solved.
pub(super) fn solvable(findings: &Findings) -> bool {
    findings.effects.iter().any(|effect| effect.measure == Measure::StepsToSolve)
}

/// The effects of a modifier.
pub(super) fn of<'a>(findings: &'a Findings, modifier: &str) -> Vec<&'a Effect> {
    findings.effects.iter().filter(|effect| effect.modifier == modifier).collect()
}

/// The measures that occur, each with the effects of all modifiers.
pub(super) fn by_measure(findings: &Findings) -> Vec<(Measure, Vec<&Effect>)> {
    let of = |measure| -> Vec<&Effect> {
        findings.effects.iter().filter(|effect| effect.measure == measure).collect()
    };
    let all = Measure::ALL.into_iter().map(|measure| (measure, of(measure)));
    all.filter(|(_, effects)| !effects.is_empty()).collect()
}

/// The description of a modifier with at least one effect.
pub(super) fn words(effects: &[&Effect]) -> String {
    let verdicts =
        [Verdict::Helps, Verdict::Hurts, Verdict::NoEffectShown, Verdict::NotEnoughEvidence];
    let named = |effect: &&&Effect| {
        let title = effect.measure.title();
        match (effect.verdict, effect.base_median, effect.modifier_median) {
            (Verdict::Helps | Verdict::Hurts, Some(before), Some(after)) => {
                format!("{title} ({} → {})", median(effect, before), median(effect, after))
            }
            _ => title.to_owned(),
        }
    };
    let mut parts: Vec<String> = Vec::new();
    for verdict in verdicts {
        let of: Vec<String> = effects
            .iter()
            .filter(|effect| effect.verdict == verdict)
            .map(|effect| named(&effect))
            .collect();
        if !of.is_empty() {
            let joint = match verdict {
                Verdict::Helps | Verdict::Hurts => "",
                Verdict::NoEffectShown | Verdict::NotEnoughEvidence => "on ",
            };
            parts.push(format!("{} {joint}{}", verdict.words(), of.join(", ")));
        }
    }
    let Some(first) = effects.first() else { return String::new() };
    let mut text = parts.join("; ") + ".";
    if effects.iter().any(|effect| effect.measure == Measure::StepsToSolve) {
        let solved = |solved: usize, runs: usize| match runs {
            0 => "not measured".to_owned(),
            runs => format!("{solved} of {}", count(runs, "run")),
        };
        text += &format!(
            " Solved: {} without it, {} with it.",
            solved(first.base_solved, first.base_runs),
            solved(first.modifier_solved, first.modifier_runs)
        );
    }
    if first.modifier_failed > 0 {
        text += &format!(" {} with it failed.", count(first.modifier_failed, "run"));
    }
    if first.base_lr != first.modifier_lr {
        text +=
            &format!(" Learning rate {} without it, {} with it.", first.base_lr, first.modifier_lr);
    }
    text
}

/// The rule of the verdicts.
pub(super) fn rule(findings: &Findings) -> String {
    let [margin, unsolved, counts] = match solvable(findings) {
        true => [
            "a tenth of the steps allowed, ",
            ", and on steps to solve where no run solved the task",
            "A run that did not solve the task counts with all its steps, one that failed",
        ],
        false => ["", "", "A run that failed counts"],
    };
    format!(
        "Runs of one seed are a pair; effects are mean differences, with it minus without it. \
         Helps or hurts: the interval lies on one side of no effect, p (sign flips) is at most \
         {SIGNIFICANT}, and the effect is at least the margin: a factor of 2 in the gradient over \
         the whole sequence, a tenth of the sequence, {margin}a quarter of the loss. No effect \
         shown: the interval lies within the margin. Else, with fewer than {PAIRS} \
         pairs{unsolved}: not enough evidence. {counts} with the largest loss. Nothing is \
         corrected for the number of comparisons."
    )
}

/// Warnings that precede the numbers.
pub(super) fn cautions(findings: &Findings) -> Vec<String> {
    let mut cautions = Vec::new();
    let Some(first) = findings.effects.first() else { return cautions };
    if first.base_failed > 0 {
        cautions.push(format!("{} of {} failed.", count(first.base_failed, "run"), first.base));
    }
    if first.base_solved == 0 && first.base_runs > 0 && solvable(findings) {
        cautions.push(format!("{} did not solve the task with any seed.", first.base));
    }
    for modifier in modifiers(findings) {
        let effects = of(findings, modifier);
        let left_out = |effect: &&Effect| {
            let seeds: Vec<String> = effect.left_out.iter().map(u64::to_string).collect();
            (!seeds.is_empty())
                .then(|| format!("{} (seed {})", effect.measure.title(), seeds.join(", ")))
        };
        let left_out: Vec<String> = effects.iter().filter_map(left_out).collect();
        if !left_out.is_empty() {
            cautions.push(format!(
                "{modifier}: pairs without a number are left out of {}.",
                left_out.join("; ")
            ));
        }
        if effects.iter().any(|effect| effect.base_runs != effect.modifier_runs) {
            cautions.push(format!(
                "{modifier}: {}, {} has {}.",
                count(effects[0].modifier_runs, "run"),
                first.base,
                first.base_runs
            ));
        }
    }
    cautions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Records, Status};
    use crate::sample;
    use crate::table::width;
    use recurrent_records::effects::all;

    #[test]
    fn failed_and_left_out_runs_are_named() {
        let mut records = Records::default();
        for name in ["lstm", "lstm+chrono"] {
            let run = |seed| {
                let mut run = sample::run("lstm", 1);
                (run.config.model.variant, run.config.seed) = (name.to_owned(), seed);
                run
            };
            records.runs.extend((0..5).map(run));
        }
        for run in records
            .runs
            .iter_mut()
            .filter(|run| run.config.model.variant != "lstm" && (1..4).contains(&run.config.seed))
        {
            match run.config.seed {
                1 => {
                    run.status = Status::Failed("NaN".to_owned());
                    (run.outcome.final_loss, run.outcome.solved, run.outcome.steps_to_solve) =
                        (f64::NAN, false, None);
                    run.gradients.trained.h.horizon = None;
                }
                2 => run.status = Status::Stopped,
                _ => (run.gradients.init.h.fit, run.gradients.trained.h.fit) = (None, None),
            }
        }
        let effects = all(&["lstm", "lstm+chrono"], &records);
        let findings = Findings { records, effects, tuned: Vec::new() };
        for columns in [80, 100] {
            let text = terminal(&findings, columns);
            let longest = text.lines().map(width).max().unwrap_or(0);
            assert!(longest <= columns, "{longest} of {columns}:\n{text}");
        }
        let text = terminal(&findings, 400);
        assert!(text.contains("1 run with it failed."), "{text}");
        assert!(
            text.contains("left out of")
                && text.contains("half-life after training (seed 1, 2, 3)"),
            "{text}"
        );
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
