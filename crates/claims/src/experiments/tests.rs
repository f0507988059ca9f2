//! Every rule, on made-up numbers that produce each of its verdicts. No other code decides a
//! verdict.

use super::*;
use crate::experiment::half_more;
use crate::finding::ClaimVerdict::{Open, Refuted, Supported, TrueOnlyIf};
use crate::numbers::{more, solved, steps_to_solve};
use recurrent_records::config::Budget;
use recurrent_records::record::{Outcome, RunRecord, Status};
use std::collections::BTreeSet;

/// A measured value whose interval alone matters.
fn within(low: f64, high: f64) -> Measured {
    let value = (low + high) / 2.0;
    Measured { what: String::new(), unit: "", value, low, high, kind: "", seeds: 5 }
}

fn above() -> Measured {
    within(0.6, 0.8)
}

fn below() -> Measured {
    within(-0.8, -0.6)
}

fn around() -> Measured {
    within(-0.1, 0.3)
}

#[test]
fn forget_gate() {
    use super::forget_gate::rule;
    assert_eq!(rule(&below(), &below()), Refuted);
    assert_eq!(rule(&above(), &above()), Supported);
    for (open, shut) in
        [(below(), around()), (around(), below()), (below(), above()), (above(), around())]
    {
        assert_eq!(rule(&open, &shut), Open);
    }
}

#[test]
fn clipping_against_vanishing() {
    use super::clipping::rule_vanishing as rule;
    let (exact, parallel) = ([1e-15, -1e-14, 0.0], [1e-15, 0.0, 1e-16]);
    assert_eq!(rule(&exact, &parallel, [0, 0]), Refuted);
    assert_eq!(rule(&exact, &parallel, [1, 0]), Refuted, "fewer solved with clipping");
    assert_eq!(rule(&exact, &parallel, [0, 1]), Open, "one of three more");
    assert_eq!(rule(&exact, &parallel, [0, 2]), Supported, "two of three more");
    assert_eq!(
        rule(&[0.2, 0.3, 0.11], &[0.1; 3], [0, 0]),
        Supported,
        "the share grows at every seed"
    );
    assert_eq!(rule(&[0.2, 0.3, 0.0], &[0.1; 3], [0, 0]), Open, "it grows at two of three");
    assert_eq!(rule(&[-0.2, 0.0, 0.0], &parallel, [0, 0]), Open, "it shrinks at one");
    assert_eq!(rule(&exact, &[1e-15, 1e-6, 0.0], [0, 0]), Open, "the update is turned");
}

#[test]
fn clipping_against_explosions() {
    use super::clipping::rule_exploding as rule;
    assert_eq!(rule(&below(), &below(), false), Supported);
    assert_eq!(rule(&below(), &around(), true), Supported);
    assert_eq!(rule(&below(), &above(), false), Refuted);
    assert_eq!(rule(&below(), &around(), false), Open);
    for growth in [around(), above()] {
        assert_eq!(rule(&growth, &below(), true), Open, "nothing explodes here");
    }
}

#[test]
fn initialisation() {
    use super::initialisation::rule;
    let (good, bad) = ((true, true), (false, false));
    assert_eq!(rule([good, good]), Supported);
    for other in [bad, (true, false), (false, true)] {
        assert_eq!((rule([good, other]), rule([other, good])), (TrueOnlyIf, TrueOnlyIf));
    }
    assert_eq!(rule([bad, (true, false)]), Open, "a slower decay without a shown gain in learning");
    assert_eq!(rule([bad, bad]), Refuted);
    assert_eq!(rule([bad, (false, true)]), Refuted, "learnt better, but not by a slower decay");
}

#[test]
fn gates() {
    use super::gates::rule;
    assert_eq!(rule(&[true, true], [true, true]), Supported);
    assert_eq!(rule(&[true, false], [true, true]), TrueOnlyIf);
    assert_eq!(rule(&[true, true], [false, false]), Refuted);
    assert_eq!(rule(&[true, true], [true, false]), Open);
}

#[test]
fn residuals() {
    use super::residual::{rule_depth_for_time, rule_over_depth, rule_over_time};
    assert_eq!(rule_over_depth(&above(), &around()), Supported);
    assert_eq!(rule_over_depth(&above(), &above()), Open, "learns worse");
    assert_eq!(rule_over_depth(&around(), &below()), Refuted, "less than a factor of 3");
    assert_eq!(rule_over_depth(&within(0.3, 0.9), &around()), Open);

    assert_eq!(rule_depth_for_time(0.0, &around(), false), Refuted);
    assert_eq!(rule_depth_for_time(0.0, &within(-0.03, -0.01), false), Refuted, "too little");
    assert_eq!(rule_depth_for_time(1e-9, &around(), false), Open, "the Jacobians differ");
    assert_eq!(rule_depth_for_time(0.0, &below(), false), Open, "slower, but not better");
    assert_eq!(rule_depth_for_time(0.0, &around(), true), TrueOnlyIf);
    assert_eq!(rule_depth_for_time(0.0, &below(), true), Supported);

    assert_eq!(rule_over_time(true, true), Supported);
    assert_eq!(rule_over_time(true, false), TrueOnlyIf);
    assert_eq!(rule_over_time(false, false), Refuted);
    assert_eq!(rule_over_time(false, true), Open);
}

#[test]
fn layer_norm() {
    use super::layer_norm::{rule_gain, rule_placement};
    let (good, bad) = ((true, true), (false, false));
    assert_eq!(rule_placement(&[good, good]), Supported);
    assert_eq!(rule_placement(&[good, bad]), TrueOnlyIf);
    assert_eq!(rule_placement(&[(true, false), (true, false)]), TrueOnlyIf);
    assert_eq!(rule_placement(&[(false, true), bad]), TrueOnlyIf);
    assert_eq!(rule_placement(&[bad, bad]), Refuted);

    assert_eq!(rule_gain(&[true, true]), Supported);
    assert_eq!(rule_gain(&[true, false]), TrueOnlyIf);
    assert_eq!(rule_gain(&[false, false]), Refuted);
}

#[test]
fn truncation() {
    use super::truncation::rule;
    assert_eq!(rule(0.0, [5, 2], 5), Refuted);
    assert_eq!(rule(0.0, [5, 3], 5), Open, "two of five");
    assert_eq!(rule(1e-30, [5, 0], 5), Open, "then the window does not cut");
    assert_eq!(rule(0.0, [0, 3], 5), Supported);
    assert_eq!(rule(0.0, [0, 0], 5), Open, "nothing was learnt at all");
}

#[test]
fn attention() {
    use super::attention::rule;
    let (much, little) = (within(1.5, 9.0), within(-0.5, 0.5));
    assert_eq!(rule(&much, &much), Supported);
    assert_eq!(rule(&much, &little), TrueOnlyIf);
    assert_eq!(rule(&little, &little), Refuted);
    assert_eq!(rule(&within(0.5, 3.0), &little), Open);
}

#[test]
fn the_norm_of_the_weights_gradient() {
    use super::norm::{counter_example, rule, spearman};
    assert_eq!(rule(10.0, &above()), Refuted, "a counterexample outweighs a correlation");
    assert_eq!(rule(9.0, &above()), Supported);
    assert_eq!(rule(9.0, &around()), Open);

    // (norm, share) of three networks at two seeds. At both, the second has the smaller norm and 50
    // or 20 times the share of the first.
    let points =
        [vec![(2.0, 0.01), (1.0, 0.5), (3.0, 0.9)], vec![(2.0, 0.02), (1.5, 0.4), (0.1, 0.9)]];
    let found = counter_example(&points);
    assert_eq!((found.small, found.large), (1, 0));
    assert!((found.times - 20.0).abs() < 1e-12, "{}", found.times);
    let agreeing = [vec![(1.0, 0.1), (2.0, 0.2)]];
    assert!(counter_example(&agreeing).times < 1.0);

    assert_eq!(spearman(&[(1.0, 5.0), (2.0, 6.0), (7.0, 8.0)]), 1.0);
    assert_eq!(spearman(&[(1.0, 9.0), (2.0, 6.0), (7.0, 3.0)]), -1.0);
    assert_eq!(spearman(&[(1.0, 1.0), (2.0, 3.0), (3.0, 2.0)]), 0.5); // 1 − 6·2 / (3·8)
}

#[test]
fn half_of_the_seeds_more() {
    assert!(half_more(3, 0, 5) && half_more(5, 2, 5) && half_more(2, 0, 4));
    assert!(!half_more(2, 0, 5) && !half_more(5, 3, 5) && !half_more(0, 0, 1));
}

/// The tests above ask every rule for all of its verdicts. This one checks that all claims have
/// different names and complete texts.
#[test]
fn claims_are_complete() {
    let all = all();
    let ids: BTreeSet<_> = all.iter().map(|experiment| experiment.claim.id).collect();
    assert_eq!(ids.len(), all.len());
    for ClaimTest { claim, .. } in &all {
        assert!(
            claim.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
            "{}",
            claim.id
        );
        assert!(
            claim.rule.contains("upported if") && claim.rule.contains("efuted if"),
            "{}",
            claim.rule
        );
        assert!(
            !claim.literature.is_empty()
                && claim.prediction.len() > 30
                && claim.experiment.len() > 30
        );
        for text in [claim.claim, claim.prediction, claim.experiment, claim.rule] {
            assert!(text.ends_with('.') && !text.contains("  "), "{text}");
        }
        for source in claim.literature {
            assert!(!source.says.ends_with('.') && !source.says.contains("  "), "{}", source.says);
        }
    }
}

#[test]
fn pairs_are_subtracted() {
    let difference = more("", "", &[1.0, 2.0, 3.0, 4.0], &[0.5, 1.5, 2.5, 3.5]);
    assert_eq!((difference.value, difference.low, difference.high), (0.5, 0.5, 0.5));
}

/// A run of which only these fields matter.
fn run(status: Status, solved: bool, final_loss: f64) -> RunRecord {
    let mut run = RunRecord { status, ..RunRecord::default() };
    run.config.task.baseline = 0.5;
    run.config.training.budget = Budget::Steps(8);
    run.outcome = Outcome {
        steps: 1,
        solved,
        steps_to_solve: solved.then_some(3),
        final_loss,
        ..run.outcome
    };
    run
}

#[test]
fn runs_that_did_not_converge_are_in_the_numbers() {
    let failed = Status::Failed("a NaN".to_string());
    let runs = vec![
        run(Status::Finished, true, 0.005),
        run(Status::Finished, false, 1.0),
        run(failed, false, f64::NAN),
    ];
    let arm = Trained { name: "arm", runs };
    let share = solved(&arm);
    assert_eq!((share.value, share.seeds), (1.0 / 3.0, 3));
    assert_eq!(arm.log_losses(), [0.01f64.ln(), 2f64.ln(), 0.0]);
    assert!(!arm.solves_more_than(&arm));
    assert_eq!(
        steps_to_solve(&arm).high,
        8.0,
        "those of a run that was not solved are all that it had"
    );
    assert_eq!(Unconverged::of(&[arm]), Unconverged { unsolved: 2, failed: 1 });
}
