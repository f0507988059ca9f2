//! Bits that must be the same, and dtypes that have few of them.

use super::agreement::directions;
use crate::close::{all_close, values};
use crate::named::in_double;
use crate::{close, Named, Result, Size, Subject, Tolerance, Trial, Way};
use anyhow::ensure;
use candle::DType;
use recurrent_core::Record;

/// The same seed gives the same weights, and the same weights the same bits in a training pass, at 1, 2 and 3 threads.
pub(super) fn same(subject: &Subject) -> Result<()> {
    let trial = Trial::new(subject);
    let weights = |dtype| -> Result<Named> {
        let (_, layer) = Trial { dtype, ..trial.clone() }.fresh()?;
        Ok(layer.params().into_iter().map(|(name, param)| (name, param.detach())).collect())
    };
    let (once, single) = (weights(DType::F64)?, weights(DType::F32)?);
    all_close("weights of the same seed", &weights(DType::F64)?, &once, Tolerance::Bits)?;
    for (name, weight) in &once {
        let rounded = weight.to_dtype(DType::F32)?;
        close(&format!("the seed's {name} in f32"), &single[name], &rounded, Tolerance::Bits)?;
    }
    // Enough examples for three threads to have some each.
    let size = Size { batch: 70, time: 4, hidden: 9, input: if subject.square { 9 } else { 3 } };
    for dtype in [DType::F32, DType::F64] {
        for way in trial.ways()? {
            for reverse in directions(subject) {
                let lengths = Some((0..70).map(|row| 1 + (row * 3) % 4).collect());
                let keep = Some(Record::Gradients);
                let trial = Trial {
                    way,
                    dtype,
                    size,
                    lengths,
                    keep,
                    reverse: *reverse,
                    train: true,
                    ..trial.clone()
                };
                let leaves = trial.leaves()?;
                let run = |threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
                    pool.install(|| trial.run(&leaves))
                };
                let expected = run(1)?;
                for threads in [1, 2, 3] {
                    let found = run(threads)?;
                    let what = format!("{}, {threads} threads against 1", trial.name());
                    all_close(&what, &found.values, &expected.values, Tolerance::Bits)?;
                    all_close(
                        &format!("{what}, gradient"),
                        &found.grads,
                        &expected.grads,
                        Tolerance::Bits,
                    )?;
                    all_close(
                        &format!("{what}, recorded"),
                        &found.states,
                        &expected.states,
                        Tolerance::Bits,
                    )?;
                    let sums = |outcome: &crate::Outcome| -> Vec<u64> {
                        outcome
                            .traces
                            .iter()
                            .flat_map(|trace| &trace.batch_norms)
                            .map(|sum| sum.to_bits())
                            .collect()
                    };
                    ensure!(
                        sums(&found) == sums(&expected),
                        "{what}: other sums of the recorded gradients"
                    );
                }
            }
        }
    }
    Ok(())
}

/// f16 and bf16 run, forward and backward, and stay near f64 on the same rounded numbers: to a twentieth of the norm, gradients
/// to a quarter.
pub(super) fn half(subject: &Subject) -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let trial = Trial { way: Way::Auto, dtype, ..Trial::new(subject).ragged() };
        let leaves = trial.leaves()?;
        let mut expected =
            Trial { dtype: DType::F64, ..trial.clone() }.run(&in_double(&leaves)?)?;
        expected.values.remove("loss");
        let mut found = trial.run(&leaves)?;
        found.values.remove("loss"); // a sum in which rounding errors add up and values cancel
        for (name, gradient) in &found.grads {
            ensure!(
                gradient.dtype() == dtype,
                "{}: the gradient of {name} in {:?}",
                trial.name(),
                gradient.dtype()
            );
            ensure!(
                values(gradient)?.iter().all(|v| v.is_finite()),
                "{}: {name} is not finite",
                trial.name()
            );
        }
        all_close(
            &trial.name(),
            &in_double(&found.values)?,
            &expected.values,
            Tolerance::Norm(0.05),
        )?;
        let what = format!("{}, gradient", trial.name());
        all_close(&what, &in_double(&found.grads)?, &expected.grads, Tolerance::Norm(0.25))?;
    }
    Ok(())
}
