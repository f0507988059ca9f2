//! Training options that act on the gradient, and what the records say about them.

use crate::cells::{plain, tanh, Cut};
use anyhow::Result;
use recurrent_core::{HiddenGradClip, Rnn, Truncation};
use recurrent_harness::compare::Comparison;
use recurrent_harness::run::{self, Job, Run};
use recurrent_harness::variant::Variant;
use recurrent_records::config::{Budget, Clipping, Override, Readout, TrainingConfig, Width};
use recurrent_records::record::{RunRecord, Status};
use recurrent_tasks as tasks;
use recurrent_tasks::task::Task;
use std::sync::Arc;

fn adding() -> Arc<dyn Task> {
    tasks::by_name("adding", Some(12), None).expect("long enough")
}

fn settings() -> TrainingConfig {
    let task = adding();
    TrainingConfig {
        budget: Budget::Steps(12),
        eval_every: 6,
        width: Width::Hidden(4),
        held_out: Some(100),
        batch: 8,
        ..TrainingConfig::new(task.as_ref())
    }
}

fn run(variant: &Variant, training: &TrainingConfig) -> Run {
    let task = adding();
    let job = Job::new(variant, task.as_ref(), training, 3).expect("it can be built");
    let mut run = run::run(&job, &false.into(), &mut |_, _| ());
    run.record.outcome.seconds = 0.0;
    run
}

fn changed(overrides: &[Override]) -> Run {
    run(&Variant { overrides: overrides.to_vec(), ..tanh("t") }, &settings())
}

#[test]
fn every_option_trains_is_recorded_and_repeats_exactly() {
    let plain = changed(&[]);
    let every = [
        Override::Lr(1e-3),
        Override::Clip(Clipping::PerTensor(0.1)),
        Override::Clip(Clipping::Value(0.01)),
        Override::Truncation(Some(Truncation::Every(3))),
        Override::Truncation(Some(Truncation::Last(2))),
        Override::HiddenGradClip(Some(HiddenGradClip::Value(1e-4))),
        Override::HiddenGradClip(Some(HiddenGradClip::Norm(1e-4))),
        Override::Omega(0.5),
        Override::Orthogonality(0.1),
    ];
    for change in every {
        let found = changed(&[change]);
        let record = &found.record;
        assert_eq!((&record.status, record.outcome.steps), (&Status::Finished, 12), "{change:?}");
        assert_eq!(
            found.steps[0].loss, plain.steps[0].loss,
            "{change:?}: the forward pass is the same"
        );
        assert!(found.steps[11].loss != plain.steps[11].loss, "{change:?} changes what is learnt");
        assert_eq!(found, changed(&[change]), "{change:?}: the same bits");
        let of_settings = run(&tanh("t"), &settings().with(&[change]));
        assert_eq!(found, of_settings, "{change:?}: of the settings, or of the variant");
        let line = serde_json::to_value(record).expect("it can be written");
        assert_eq!(
            &serde_json::from_value::<RunRecord>(line).expect("and read"),
            record,
            "{change:?}"
        );
    }
}

#[test]
fn attention_trains_from_the_same_start() {
    let plain = changed(&[]);
    for readout in [Readout::Attention, Readout::AttentionDetached] {
        let found = changed(&[Override::Readout(readout)]);
        assert_eq!(
            (&found.record.status, found.record.outcome.steps),
            (&Status::Finished, 12),
            "{readout:?}"
        );
        assert_eq!(
            (found.record.config.training.readout, found.record.config.model.params),
            (readout, plain.record.config.model.params + 2 * 16 + 4)
        );
        assert_eq!(
            found.record.spectral_radius, plain.record.spectral_radius,
            "the same recurrent weights"
        );
        assert_eq!(found, changed(&[Override::Readout(readout)]), "{readout:?}: the same bits");
    }
    let (live, cut) = (
        changed(&[Override::Readout(Readout::Attention)]),
        changed(&[Override::Readout(Readout::AttentionDetached)]),
    );
    assert_eq!(live.steps[0].loss, cut.steps[0].loss);
    assert!(
        live.profiles[0].median[11] > 10.0 * cut.profiles[0].median[11],
        "a short path to the first step"
    );
}

#[test]
fn records_name_the_options() {
    let record = changed(&[
        Override::Lr(1e-3),
        Override::Clip(Clipping::Value(0.5)),
        Override::Truncation(Some(Truncation::Every(3))),
        Override::HiddenGradClip(Some(HiddenGradClip::Norm(0.25))),
    ])
    .record;
    assert_eq!(
        (record.config.training.lr, record.config.training.clip),
        (1e-3, Clipping::Value(0.5))
    );
    assert_eq!(
        (record.config.training.truncation, record.config.training.hidden_grad_clip),
        (Some(Truncation::Every(3)), Some(HiddenGradClip::Norm(0.25)))
    );
    let line = serde_json::to_value(&record).expect("it can be written");
    let training = &line["config"]["training"];
    assert_eq!(training["clip"], serde_json::json!({"value": 0.5}));
    assert_eq!(training["truncation"], serde_json::json!({"every": 3}));
    assert_eq!(training["hidden_grad_clip"], serde_json::json!({"norm": 0.25}));

    let off = changed(&[Override::Clip(Clipping::Off)]);
    assert_eq!(off.record.config.training.clip, Clipping::Off);
    assert_eq!((off.record.clipping.fraction, off.record.clipping.scale), (0.0, Some(1.0)));
    assert!(off.steps.iter().all(|step| step.grad_norm_clipped == step.grad_norm));
}

#[test]
fn a_warm_up_is_in_the_learning_rates_of_the_steps() {
    let warm = |warmup| run(&tanh("t"), &TrainingConfig { warmup, lr: 0.01, ..settings() });
    let rates = |run: &Run| run.steps.iter().map(|step| step.lr).collect::<Vec<_>>();
    let found = warm(4);
    assert_eq!(found.record.config.training.warmup, 4);
    assert_eq!(rates(&found)[..6], [0.25, 0.5, 0.75, 1.0, 1.0, 1.0].map(|factor| 0.01 * factor));
    assert_eq!(warm(100).steps[11].lr, 0.01 * 0.12, "a run may end before it does");

    let (none, one) = (warm(0), warm(1));
    assert_eq!(rates(&none), [0.01; 12]);
    let losses = |run: &Run| run.steps.iter().map(|step| step.loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(
        losses(&none),
        losses(&one),
        "the first step of one has the whole rate: the same bits"
    );
    assert_eq!(losses(&found)[0], losses(&none)[0]);
    assert_ne!(losses(&found)[1], losses(&none)[1]);
}

#[test]
fn profiles_show_the_gradient_used_for_training() {
    let full = changed(&[]);
    let window = changed(&[Override::Truncation(Some(Truncation::Last(5)))]);
    let (before, after) = (&full.profiles[0], &window.profiles[0]);
    assert_eq!(after.median[..5], before.median[..5]);
    assert_eq!(after.median[5..], [0.0; 8], "lags 5 to 12");
    assert_eq!(
        (window.record.gradients.init.h.underflow.lags, window.record.gradients.init.h.horizon),
        (0, Some(4)),
        "cut, not underflowed"
    );
    assert_eq!(window.record.gradients.init.h.ratio, Some(0.0));
    // The fit uses lags 2 to 10, of which 2 to 4 remain.
    let fit = window.record.gradients.init.h.fit.expect("enough points");
    assert_eq!((fit.points, fit.underflowed), (3, 6));
    let points = full.record.gradients.init.h.fit.map(|fit| fit.points);
    assert!(points == Some(9) && fit.decay.is_finite());

    // There are 32 examples, and the loss is a mean. So an example's own gradient is at most 32
    // times the bound.
    let clipped = changed(&[Override::HiddenGradClip(Some(HiddenGradClip::Norm(1e-4)))]);
    let most = clipped.profiles[0].median.iter().fold(0.0, |most: f64, norm| most.max(*norm));
    assert!((most / 32e-4 - 1.0).abs() < 1e-6 && full.profiles[0].median[0] > 32e-4, "{most}");
}

/// Trained almost only by the penalty, a matrix becomes orthogonal.
#[test]
fn the_penalty_makes_the_recurrent_matrix_orthogonal() -> Result<()> {
    let change = |weight| {
        [Override::Orthogonality(weight), Override::Lr(0.05), Override::Clip(Clipping::Off)]
    };
    let distance = |weight| -> Result<f64> {
        let (task, variant) =
            (adding(), Variant { overrides: change(weight).to_vec(), ..tanh("t") });
        let settings = TrainingConfig { budget: Budget::Steps(60), ..settings() };
        let job = Job::new(&variant, task.as_ref(), &settings, 3)?;
        let run = run::run(&job, &false.into(), &mut |_, _| ());
        assert_eq!(run.record.status, Status::Finished);
        Ok(run.profiles.last().expect("the last").median[11] / run.profiles[0].median[11])
    };
    let (with, without) = (distance(100.0)?, distance(0.0)?);
    assert!(
        with > 10.0 * without,
        "the gradient of the first step: {with} and {without} of the start's"
    );
    Ok(())
}

#[test]
fn non_finite_values_fail_the_run_as_usual() {
    let penalties =
        [Override::Omega(1.0), Override::Orthogonality(1.0), Override::Readout(Readout::Attention)];
    for change in penalties {
        let run = changed(&[Override::Lr(1e30), Override::Clip(Clipping::Off), change]);
        let Status::Failed(message) = run.record.status else { panic!("{change:?}: it must fail") };
        assert!(
            message.starts_with("step ") && message.contains(": expected"),
            "{change:?}: {message}"
        );
        assert!(message.contains("finite"), "{change:?}: {message}");
        assert!(run.record.outcome.final_loss.is_nan() && !run.steps.is_empty());
    }
}

#[test]
fn penalties_that_a_layer_does_not_support_are_refused() -> Result<()> {
    let cut = Variant::new("cut", |size, vb| {
        let f = |x: &candle_core::Tensor, h: &candle_core::Tensor| (x + h)?.tanh();
        Ok(Box::new(Cut(Box::new(Rnn::from_cell(crate::cells::Plain::new(size, vb, f)?)))))
    });
    let cases = [
        (
            cut,
            Override::Orthogonality(1.0),
            "orthogonality: expected a layer that shows its recurrent blocks",
        ),
        (
            plain("p", |x, h| x + h),
            Override::Omega(1.0),
            "omega: expected a layer with a closed-form vector-Jacobian product",
        ),
    ];
    for (variant, change, expected) in cases {
        let variant = Variant { overrides: vec![change], ..variant };
        let Status::Failed(message) = run(&variant, &settings()).record.status else {
            panic!("it must fail")
        };
        assert!(message.starts_with(expected), "{message}");
        let comparison = Comparison::new(adding(), vec![variant]);
        let error = comparison.check().err().expect("it must be refused");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(1 + u8::from(error.is_config()), 2);
    }
    Ok(())
}

#[test]
fn a_run_with_invalid_options_fails_with_the_reason() {
    let training = TrainingConfig { truncation: Some(Truncation::Last(0)), ..settings() };
    let Status::Failed(message) = run(&tanh("t"), &training).record.status else {
        panic!("it must fail")
    };
    assert_eq!(message, "truncation: expected at least 1 step, got 0");
}
