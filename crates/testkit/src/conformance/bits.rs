//! Bits that must be equal, and dtypes with few bits.

use super::agreement::directions;
use crate::close::{all_close, values};
use crate::named::to_f64;
use crate::{close, Case, Dims, Evaluation, Implementation, Result, TensorMap, Tolerance};
use anyhow::ensure;
use candle_core::DType;
use recurrent_core::Record;

/// The same seed gives the same weights, and the same weights the same bits in training, at 1, 2
/// and 3 threads.
pub(super) fn same(case: &Case) -> Result<()> {
    let evaluation = Evaluation::new(case);
    let weights = |dtype| -> Result<TensorMap> {
        let (_, layer) = Evaluation { dtype, ..evaluation.clone() }.fresh()?;
        Ok(layer.params().into_iter().map(|(name, param)| (name, param.detach())).collect())
    };
    let (once, single) = (weights(DType::F64)?, weights(DType::F32)?);
    all_close("weights of the same seed", &weights(DType::F64)?, &once, Tolerance::Bits)?;
    for (name, weight) in &once {
        let rounded = weight.to_dtype(DType::F32)?;
        close(&format!("the seed's {name} in f32"), &single[name], &rounded, Tolerance::Bits)?;
    }
    // Enough examples for three threads.
    let size = Dims { batch: 70, time: 4, hidden: 9, input: if case.square { 9 } else { 3 } };
    for dtype in [DType::F32, DType::F64] {
        for implementation in evaluation.implementations()? {
            for reverse in directions(case) {
                let lengths = Some((0..70).map(|row| 1 + (row * 3) % 4).collect());
                let keep = Some(Record::Gradients);
                let evaluation = Evaluation {
                    implementation,
                    dtype,
                    size,
                    lengths,
                    keep,
                    reverse: *reverse,
                    train: true,
                    ..evaluation.clone()
                };
                let leaves = evaluation.leaves()?;
                let run = |threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
                    pool.install(|| evaluation.run(&leaves))
                };
                let expected = run(1)?;
                for threads in [1, 2, 3] {
                    let found = run(threads)?;
                    let what = format!("{}, {threads} threads against 1", evaluation.name());
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
                    let sums = |output: &crate::EvaluationOutput| -> Vec<u64> {
                        output
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

/// f16 and bf16 run forward and backward. They stay near f64 on the same rounded numbers: to a
/// twentieth of the norm, gradients to a quarter.
pub(super) fn half(case: &Case) -> Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let evaluation = Evaluation {
            implementation: Implementation::Auto,
            dtype,
            ..Evaluation::new(case).ragged()
        };
        let leaves = evaluation.leaves()?;
        let mut expected =
            Evaluation { dtype: DType::F64, ..evaluation.clone() }.run(&to_f64(&leaves)?)?;
        expected.values.remove("loss");
        let mut found = evaluation.run(&leaves)?;
        found.values.remove("loss"); // a sum in which rounding errors add up and values cancel
        for (name, gradient) in &found.grads {
            ensure!(
                gradient.dtype() == dtype,
                "{}: the gradient of {name} in {:?}",
                evaluation.name(),
                gradient.dtype()
            );
            ensure!(
                values(gradient)?.iter().all(|v| v.is_finite()),
                "{}: {name} is not finite",
                evaluation.name()
            );
        }
        all_close(
            &evaluation.name(),
            &to_f64(&found.values)?,
            &expected.values,
            Tolerance::Norm(0.05),
        )?;
        let what = format!("{}, gradient", evaluation.name());
        all_close(&what, &to_f64(&found.grads)?, &expected.grads, Tolerance::Norm(0.25))?;
    }
    Ok(())
}
