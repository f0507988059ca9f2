//! Recurrent dropout, the learned initial state and recomputation.
//!
//! The reference is a loop by hand, whose masks come from cells that show them: outputs, carry, the
//! gradients of everything and of every state agree to 1e-12 of the norm in f64.

mod by_hand;
mod config;
mod draws;
mod masks;
mod recompute;
mod refused;
mod start;

use anyhow::ensure;
use by_hand::{Loop, Step, Taps, ALPHA};
use candle_core::DType;
use recurrent::{
    Bidirectional, Cell, CellConfig, Execution, GruConfig, Layer, LayerId, LayerNormLstmConfig,
    LstmConfig, Record, RecurrentDropout, ResidualLstmConfig, Rnn, Stack, State, TemporalResidual,
    VanillaConfig,
};
use recurrent_testkit::close::all_close;
use recurrent_testkit::{
    close, relative_error, BuildContext, Case, Dims, Evaluation, Implementation, LossInputs,
    Result, TensorMap, Tolerance,
};

/// The implementations with noise. A cell without a kernel runs by replay.
const IMPLEMENTATIONS: [Implementation; 2] = [Implementation::Replay, Implementation::Kernel];

const NONE: RecurrentDropout =
    RecurrentDropout { input: 0.0, recurrent: 0.0, zoneout_h: 0.0, zoneout_c: 0.0, weights: 0.0 };

/// Every kind of noise by itself.
fn kinds() -> Vec<(&'static str, RecurrentDropout)> {
    vec![
        ("zoneout of h", RecurrentDropout { zoneout_h: 0.3, ..NONE }),
        ("zoneout of c", RecurrentDropout { zoneout_c: 0.4, ..NONE }),
        ("input", RecurrentDropout { input: 0.35, ..NONE }),
        ("recurrent", RecurrentDropout { recurrent: 0.25, ..NONE }),
        ("weights", RecurrentDropout { weights: 0.5, ..NONE }),
    ]
}

/// All kinds of noise for a cell with these fields.
fn everything(fields: &[&str]) -> RecurrentDropout {
    let zoneout_c = if fields.contains(&"c") { 0.4 } else { 0.0 };
    RecurrentDropout { input: 0.35, recurrent: 0.25, zoneout_h: 0.3, zoneout_c, weights: 0.5 }
}

fn fields<C: Cell>(_: &C) -> &'static [&'static str] {
    C::State::FIELDS
}

/// A cell with noise as layer `layer_id`, by the library or by hand.
fn noisy<K: CellConfig>(
    build: &BuildContext,
    layer_id: LayerId,
    input: usize,
    (config, step): (&K, Step),
    noise: RecurrentDropout,
    taps: &Taps,
) -> candle_core::Result<Box<dyn Layer>> {
    let rnn = Rnn::at_layer(layer_id, input, build.hidden, config, build.vb.clone())?
        .with_recurrent_dropout(noise)?;
    let (params, fields, hidden) = (rnn.params(), fields(rnn.cell()), build.hidden);
    Ok(match build.implementation() {
        Implementation::StepLoop => {
            let taps = taps.clone();
            Box::new(Loop { step, noise, layer_id, fields, input, hidden, params, taps })
        }
        Implementation::Kernel if rnn.cell().kernel().is_some() => {
            Box::new(rnn.with_execution(Execution::Kernel))
        }
        Implementation::Replay | Implementation::Kernel => {
            Box::new(rnn.with_execution(Execution::Replay))
        }
        Implementation::Auto => Box::new(rnn),
    })
}

/// Values, gradients, and with a recorder the gradients of all states.
fn all(
    evaluation: &Evaluation,
    leaves: &TensorMap,
    taps: &Taps,
    fields: usize,
) -> Result<TensorMap> {
    let graph = evaluation.graph(leaves, |_| true)?;
    let output = graph.backward()?;
    let mut all = output.values;
    all.extend(
        output.grads.into_iter().map(|(name, gradient)| (format!("gradient of {name}"), gradient)),
    );
    if evaluation.implementation == Implementation::StepLoop {
        let grads = graph.grads()?;
        for (index, field) in ["h", "c"].iter().enumerate().take(fields) {
            all.insert(format!("state_l0.{field}"), taps.gradient(&grads, index)?);
        }
    } else {
        all.extend(output.states);
    }
    Ok(all)
}

/// Every kind of noise and all together, in training and evaluation, in both directions, with and
/// without lengths and carry.
fn against_the_loop<K: CellConfig>(config: K, step: Step) -> Result<()> {
    let fields = <K::Cell as Cell>::State::FIELDS;
    let kinds =
        kinds().into_iter().filter(|(_, noise)| noise.zoneout_c == 0.0 || fields.contains(&"c"));
    for (name, noise) in kinds.chain([("everything", everything(fields)), ("nothing", NONE)]) {
        for reverse in [false, true] {
            let taps = Taps::default();
            let (seen, config) = (taps.clone(), config.clone());
            let build = move |build: &BuildContext| {
                noisy(
                    build,
                    LayerId { layer: 0, reverse },
                    build.input,
                    (&config, step),
                    noise,
                    &seen,
                )
            };
            let case = Case::layer(build, |_, _| 0);
            let usual = Evaluation { keep: Some(Record::Gradients), ..Evaluation::new(&case) };
            let many = Dims { batch: 35, time: 9, input: 2, hidden: 9 };
            let lengths = (0..35).map(|row| 1 + (row * 5) % 9).collect();
            let mut evaluations = vec![usual.clone(), usual.clone().ragged()];
            if name == "everything" {
                evaluations.push(Evaluation {
                    size: many,
                    lengths: Some(lengths),
                    ..usual.clone()
                });
                evaluations.push(Evaluation {
                    loss_inputs: LossInputs::LastAndCarry,
                    ..usual.clone().ragged()
                });
                evaluations.push(Evaluation { loss_inputs: LossInputs::Last, ..usual.clone() });
            }
            for evaluation in evaluations {
                for train in [true, false] {
                    for carry in [true, false] {
                        let evaluation = Evaluation { train, ..evaluation.clone() };
                        let mut leaves = evaluation.leaves()?;
                        leaves.retain(|name, _| carry || !name.starts_with("carry."));
                        taps.clear();
                        let expected = all(
                            &Evaluation {
                                implementation: Implementation::StepLoop,
                                ..evaluation.clone()
                            },
                            &leaves,
                            &taps,
                            fields.len(),
                        )?;
                        for implementation in IMPLEMENTATIONS {
                            let evaluation = Evaluation { implementation, ..evaluation.clone() };
                            let what = format!(
                                "{name}, train {train}, reverse {reverse}, {}",
                                evaluation.name()
                            );
                            let found = all(&evaluation, &leaves, &taps, fields.len())?;
                            all_close(&what, &found, &expected, Tolerance::Norm(1e-12))?;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn vanilla() -> Result<()> {
    against_the_loop(VanillaConfig::default(), by_hand::vanilla)
}

#[test]
fn lstm() -> Result<()> {
    against_the_loop(LstmConfig::default(), by_hand::lstm)
}

#[test]
fn gru() -> Result<()> {
    against_the_loop(GruConfig::default(), by_hand::gru)
}

#[test]
fn layernorm_lstm() -> Result<()> {
    against_the_loop(LayerNormLstmConfig::default(), by_hand::layernorm_lstm)
}

#[test]
fn lstm_over_time() -> Result<()> {
    against_the_loop(TemporalResidual::new(LstmConfig::default(), ALPHA), by_hand::lstm_over_time)
}

#[test]
fn kim_residual_lstm() -> Result<()> {
    against_the_loop(ResidualLstmConfig::default(), by_hand::kim_residual_lstm)
}

/// A stack of two layers in both directions passes each layer its id.
#[test]
fn every_layer_of_a_stack() -> Result<()> {
    let build = |build: &BuildContext| -> candle_core::Result<Box<dyn Layer>> {
        let one = |layer_id, input| {
            let cell = (&LstmConfig::default(), by_hand::lstm as Step);
            noisy(build, layer_id, input, cell, everything(&["h", "c"]), &Taps::default())
        };
        let stack = Stack::build(build.input, 2, |layer_id, input| {
            let reverse = one(LayerId { reverse: true, ..layer_id }, input)?;
            Ok(Box::new(Bidirectional::new(one(layer_id, input)?, reverse)?))
        })?;
        Ok(Box::new(stack.with_dropout(0.2)?))
    };
    let case = Case::layer(build, |_, _| 0);
    for train in [true, false] {
        let evaluation = Evaluation { train, ..Evaluation::new(&case).ragged() };
        let leaves = evaluation.leaves()?;
        let run = |implementation| -> Result<TensorMap> {
            let output = Evaluation { implementation, ..evaluation.clone() }.run(&leaves)?;
            Ok(output.values.into_iter().chain(output.grads).collect())
        };
        let expected = run(Implementation::StepLoop)?;
        for implementation in IMPLEMENTATIONS {
            all_close(
                &evaluation.name(),
                &run(implementation)?,
                &expected,
                Tolerance::Norm(1e-12),
            )?;
        }
    }
    Ok(())
}

/// Every kind changes the values in training. In evaluation only zoneout does; the others change no
/// bit.
#[test]
fn noise_acts_in_training_and_its_expectation_in_evaluation() -> Result<()> {
    for implementation in IMPLEMENTATIONS {
        for (name, noise) in kinds() {
            let run = |noise, train| -> Result<_> {
                let build = move |build: &BuildContext| {
                    let cell = (&LstmConfig::default(), by_hand::lstm as Step);
                    noisy(build, LayerId::default(), build.input, cell, noise, &Taps::default())
                };
                let case = Case::layer(build, |_, _| 0);
                let evaluation =
                    Evaluation { implementation, train, ..Evaluation::new(&case).ragged() };
                Ok(evaluation.run(&evaluation.leaves()?)?.values["ys"].clone())
            };
            let plain = run(NONE, true)?;
            let trained = relative_error(&run(noise, true)?, &plain)?;
            ensure!(
                trained > 1e-2,
                "{name}: changes the outputs of a training pass by {trained:e}"
            );
            let evaluated = run(noise, false)?;
            if noise.zoneout_h + noise.zoneout_c > 0.0 {
                let changed = relative_error(&evaluated, &plain)?;
                ensure!(
                    changed > 1e-2,
                    "{name}: changes the outputs of an evaluation by {changed:e}"
                );
            } else {
                close(&format!("{name}, in evaluation"), &evaluated, &plain, Tolerance::Bits)?;
            }
        }
    }
    Ok(())
}

/// f32 stays near f64 with the same masks, which do not depend on the dtype.
#[test]
fn the_dtype_changes_no_mask() -> Result<()> {
    for implementation in IMPLEMENTATIONS {
        let build = |build: &BuildContext| {
            let cell = (&LstmConfig::default(), by_hand::lstm as Step);
            noisy(
                build,
                LayerId::default(),
                build.input,
                cell,
                everything(&["h", "c"]),
                &Taps::default(),
            )
        };
        let case = Case::layer(build, |_, _| 0);
        let single = Evaluation {
            implementation,
            train: true,
            dtype: DType::F32,
            ..Evaluation::new(&case).ragged()
        };
        let leaves = single.leaves()?;
        let double =
            leaves.iter().map(|(name, leaf)| Ok((name.clone(), leaf.to_dtype(DType::F64)?)));
        let found = single.run(&leaves)?;
        let expected = Evaluation { dtype: DType::F64, ..single.clone() }
            .run(&double.collect::<Result<_>>()?)?;
        for (name, expected) in
            expected.values.iter().chain(&expected.grads).filter(|(name, _)| *name != "loss")
        {
            let found = found.values.get(name).or(found.grads.get(name)).expect("the same names");
            close(name, &found.to_dtype(DType::F64)?, expected, Tolerance::Norm(1e-5))?;
        }
    }
    Ok(())
}
