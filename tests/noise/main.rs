//! Noise over time, the learned initial state and checkpoints.
//!
//! Noise is held against a loop written by hand, whose masks are read off cells that show them: outputs, carry, the gradients of
//! everything and of every state, to 1e-12 of the norm in f64.

mod by_hand;
mod checkpoint;
mod draws;
mod masks;
mod refused;
mod spec;
mod start;

use anyhow::ensure;
use by_hand::{Loop, Step, Taps, ALPHA};
use candle::DType;
use recurrent::{
    Bidirectional, Cell, CellConfig, Execution, GruConfig, Layer, LayerId, LayerNormLstmConfig,
    LstmConfig, Record, RecurrentDropout, ResidualLstmConfig, Rnn, Stack, State, TemporalResidual,
    VanillaConfig,
};
use recurrent_testkit::close::all_close;
use recurrent_testkit::{
    close, deviation, Named, Reads, Result, Site, Size, Subject, Tolerance, Trial, Way,
};

/// The ways of running that know of noise; a kernel is enrolled here. A cell without one runs by replay then.
const WAYS: [Way; 2] = [Way::Replay, Way::Kernel];

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

/// All kinds that a cell with these fields can have.
fn everything(fields: &[&str]) -> RecurrentDropout {
    let zoneout_c = if fields.contains(&"c") { 0.4 } else { 0.0 };
    RecurrentDropout { input: 0.35, recurrent: 0.25, zoneout_h: 0.3, zoneout_c, weights: 0.5 }
}

fn fields<C: Cell>(_: &C) -> &'static [&'static str] {
    C::State::FIELDS
}

/// A cell with noise at `place`, by the library or by hand.
fn noisy<K: CellConfig>(
    site: &Site,
    layer_id: LayerId,
    input: usize,
    (config, step): (&K, Step),
    noise: RecurrentDropout,
    taps: &Taps,
) -> candle::Result<Box<dyn Layer>> {
    let rnn = Rnn::at_layer(layer_id, input, site.hidden, config, site.vb.clone())?
        .with_recurrent_dropout(noise)?;
    let (params, fields, hidden) = (rnn.params(), fields(rnn.cell()), site.hidden);
    Ok(match site.way() {
        Way::Steps => {
            let taps = taps.clone();
            Box::new(Loop { step, noise, layer_id, fields, input, hidden, params, taps })
        }
        Way::Kernel if rnn.cell().kernel().is_some() => {
            Box::new(rnn.with_execution(Execution::Kernel))
        }
        Way::Replay | Way::Kernel => Box::new(rnn.with_execution(Execution::Replay)),
        Way::Auto => Box::new(rnn),
    })
}

/// Values, gradients, and with a record the gradients of all states.
fn all(trial: &Trial, leaves: &Named, taps: &Taps, fields: usize) -> Result<Named> {
    let graph = trial.graph(leaves, |_| true)?;
    let outcome = graph.backward()?;
    let mut all = outcome.values;
    all.extend(
        outcome.grads.into_iter().map(|(name, gradient)| (format!("gradient of {name}"), gradient)),
    );
    if trial.way == Way::Steps {
        let grads = graph.grads()?;
        for (index, field) in ["h", "c"].iter().enumerate().take(fields) {
            all.insert(format!("state_l0.{field}"), taps.gradient(&grads, index)?);
        }
    } else {
        all.extend(outcome.states);
    }
    Ok(all)
}

/// Every kind of noise and all of them, in training and evaluation, in both directions, with and without lengths and carry.
fn against_the_loop<K: CellConfig>(config: K, step: Step) -> Result<()> {
    let fields = <K::Cell as Cell>::State::FIELDS;
    let kinds =
        kinds().into_iter().filter(|(_, noise)| noise.zoneout_c == 0.0 || fields.contains(&"c"));
    for (name, noise) in kinds.chain([("everything", everything(fields)), ("nothing", NONE)]) {
        for reverse in [false, true] {
            let taps = Taps::default();
            let (seen, config) = (taps.clone(), config.clone());
            let build = move |site: &Site| {
                noisy(
                    site,
                    LayerId { layer: 0, reverse },
                    site.input,
                    (&config, step),
                    noise,
                    &seen,
                )
            };
            let subject = Subject::layer(build, |_, _| 0);
            let usual = Trial { keep: Some(Record::Gradients), ..Trial::new(&subject) };
            let many = Size { batch: 35, time: 9, input: 2, hidden: 9 };
            let lengths = (0..35).map(|row| 1 + (row * 5) % 9).collect();
            let mut trials = vec![usual.clone(), usual.clone().ragged()];
            if name == "everything" {
                trials.push(Trial { size: many, lengths: Some(lengths), ..usual.clone() });
                trials.push(Trial { reads: Reads::LastAndCarry, ..usual.clone().ragged() });
                trials.push(Trial { reads: Reads::Last, ..usual.clone() });
            }
            for trial in trials {
                for train in [true, false] {
                    for carry in [true, false] {
                        let trial = Trial { train, ..trial.clone() };
                        let mut leaves = trial.leaves()?;
                        leaves.retain(|name, _| carry || !name.starts_with("carry."));
                        taps.clear();
                        let expected = all(
                            &Trial { way: Way::Steps, ..trial.clone() },
                            &leaves,
                            &taps,
                            fields.len(),
                        )?;
                        for way in WAYS {
                            let trial = Trial { way, ..trial.clone() };
                            let what = format!(
                                "{name}, train {train}, reverse {reverse}, {}",
                                trial.name()
                            );
                            let found = all(&trial, &leaves, &taps, fields.len())?;
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

/// A stack of two layers in both directions hands every layer its place.
#[test]
fn every_layer_of_a_stack() -> Result<()> {
    let build = |site: &Site| -> candle::Result<Box<dyn Layer>> {
        let one = |layer_id, input| {
            let cell = (&LstmConfig::default(), by_hand::lstm as Step);
            noisy(site, layer_id, input, cell, everything(&["h", "c"]), &Taps::default())
        };
        let stack = Stack::build(2, site.input, |layer_id, input| {
            let reverse = one(LayerId { reverse: true, ..layer_id }, input)?;
            Ok(Box::new(Bidirectional::new(one(layer_id, input)?, reverse)?))
        })?;
        Ok(Box::new(stack.with_dropout(0.2)?))
    };
    let subject = Subject::layer(build, |_, _| 0);
    for train in [true, false] {
        let trial = Trial { train, ..Trial::new(&subject).ragged() };
        let leaves = trial.leaves()?;
        let run = |way| -> Result<Named> {
            let outcome = Trial { way, ..trial.clone() }.run(&leaves)?;
            Ok(outcome.values.into_iter().chain(outcome.grads).collect())
        };
        let expected = run(Way::Steps)?;
        for way in WAYS {
            all_close(&trial.name(), &run(way)?, &expected, Tolerance::Norm(1e-12))?;
        }
    }
    Ok(())
}

/// Every kind changes what a training pass gives; in evaluation zoneout alone does, and the others leave every bit.
#[test]
fn noise_is_there_in_training_and_its_expectation_in_evaluation() -> Result<()> {
    for way in WAYS {
        for (name, noise) in kinds() {
            let run = |noise, train| -> Result<_> {
                let build = move |site: &Site| {
                    let cell = (&LstmConfig::default(), by_hand::lstm as Step);
                    noisy(site, LayerId::default(), site.input, cell, noise, &Taps::default())
                };
                let subject = Subject::layer(build, |_, _| 0);
                let trial = Trial { way, train, ..Trial::new(&subject).ragged() };
                Ok(trial.run(&trial.leaves()?)?.values["ys"].clone())
            };
            let plain = run(NONE, true)?;
            let trained = deviation(&run(noise, true)?, &plain)?;
            ensure!(
                trained > 1e-2,
                "{name}: changes the outputs of a training pass by {trained:e}"
            );
            let evaluated = run(noise, false)?;
            if noise.zoneout_h + noise.zoneout_c > 0.0 {
                let changed = deviation(&evaluated, &plain)?;
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

/// f32 stays near f64 with the same masks: they do not depend on the dtype.
#[test]
fn the_dtype_changes_no_mask() -> Result<()> {
    for way in WAYS {
        let build = |site: &Site| {
            let cell = (&LstmConfig::default(), by_hand::lstm as Step);
            noisy(
                site,
                LayerId::default(),
                site.input,
                cell,
                everything(&["h", "c"]),
                &Taps::default(),
            )
        };
        let subject = Subject::layer(build, |_, _| 0);
        let single = Trial { way, train: true, dtype: DType::F32, ..Trial::new(&subject).ragged() };
        let leaves = single.leaves()?;
        let double =
            leaves.iter().map(|(name, leaf)| Ok((name.clone(), leaf.to_dtype(DType::F64)?)));
        let found = single.run(&leaves)?;
        let expected =
            Trial { dtype: DType::F64, ..single.clone() }.run(&double.collect::<Result<_>>()?)?;
        for (name, expected) in
            expected.values.iter().chain(&expected.grads).filter(|(name, _)| *name != "loss")
        {
            let found = found.values.get(name).or(found.grads.get(name)).expect("the same names");
            close(name, &found.to_dtype(DType::F64)?, expected, Tolerance::Norm(1e-5))?;
        }
    }
    Ok(())
}
