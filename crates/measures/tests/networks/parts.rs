//! Long-range share and truncation bias against each (dL/dW)_k, from a loop with a copy of the
//! weights for every lag.

use super::plain::{close, dot, flat, sum, Case};
use candle_core::Result;
use recurrent_core::{Bptt, Cell, CellConfig, ForwardContext};
use recurrent_gru::GruConfig;
use recurrent_lstm::LstmConfig;
use recurrent_measures::{long_range_share, truncation, GradientPart, LossReads, Objective};
use recurrent_vanilla::VanillaConfig;

const RAGGED: [usize; 3] = [9, 4, 7];

fn check_part(what: &str, found: &GradientPart, part: &[f64], whole: &[f64]) {
    let (part_norm, whole_norm) = (dot(part, part).sqrt(), dot(whole, whole).sqrt());
    close(what, found.share, part_norm / whole_norm);
    if part_norm > 1e-6 * whole_norm {
        close(what, found.cosine, dot(part, whole) / (part_norm * whole_norm));
    }
}

fn shares<C: Cell>(what: &str, case: &Case<C>) -> Result<()> {
    let lags = [1, 3, 8, 20];
    let found = case.objective(|objective| long_range_share(objective, &lags))?;
    let whole = sum(&case.parts(usize::MAX, None)?, 0..usize::MAX);
    close(what, Some(found.norm), dot(&flat(&whole), &flat(&whole)).sqrt());
    for share in &found.shares {
        let what = format!("{what}, lag {}", share.lag);
        let part = sum(&case.parts(share.lag, None)?, share.lag..usize::MAX);
        check_part(&what, &share.all, &flat(&part), &flat(&whole));
        assert_eq!(share.weights.len(), whole.len());
        for ((name, found), (expected, part)) in share.weights.iter().zip(&part) {
            assert_eq!(name, expected);
            check_part(&format!("{what}, {name}"), found, part, &whole[name]);
        }
    }
    assert!(
        found.shares[0].all.share > Some(0.01),
        "{what}: something comes from further back than one step"
    );
    Ok(())
}

fn biases<C: Cell>(what: &str, case: &Case<C>) -> Result<()> {
    let full = sum(&case.parts(usize::MAX, None)?, 0..usize::MAX);
    for found in case.objective(|objective| truncation(objective, &[1, 3, 4, 30]))? {
        let what = format!("{what}, windows of {}", found.window);
        let cut = sum(&case.parts(usize::MAX, Some(found.window))?, 0..usize::MAX);
        let pairs = [(&found.all, flat(&cut), flat(&full))];
        let named = found
            .weights
            .iter()
            .map(|(name, found)| (found, cut[name].clone(), full[name].clone()));
        for (found, cut, full) in pairs.into_iter().chain(named) {
            let difference: Vec<_> = cut.iter().zip(&full).map(|(a, b)| a - b).collect();
            let norm = |values: &[f64]| dot(values, values).sqrt();
            close(&what, found.bias, norm(&difference) / norm(&full));
            close(&what, found.length, norm(&cut) / norm(&full));
            close(
                &what,
                found.cosine.or(Some(0.0)),
                dot(&cut, &full) / (norm(&cut) * norm(&full)).max(1e-300),
            );
        }
    }
    Ok(())
}

fn family<K: CellConfig>(name: &str, config: &K) -> Result<()> {
    for lengths in [&[6, 6][..], &RAGGED] {
        for reads in [LossReads::Ends, LossReads::Steps] {
            for layers in [1, 2] {
                let what = format!("{name}, {layers} layers, {lengths:?}, {reads:?}");
                let case = Case::new(config, layers, lengths, reads)?;
                shares(&what, &case)?;
                biases(&what, &case)?;
            }
        }
    }
    let both = Case::both(config, &RAGGED)?;
    shares(&format!("{name}, both directions"), &both)?;
    biases(&format!("{name}, both directions"), &both)
}

#[test]
fn lstm() -> Result<()> {
    family("lstm", &LstmConfig::forget_bias(2.0))
}

#[test]
fn gru() -> Result<()> {
    family("gru", &GruConfig::default())
}

#[test]
fn vanilla() -> Result<()> {
    family("vanilla", &VanillaConfig::default())
}

/// The case with the flow or the recorder hidden from its layers, as with layers that ignore it.
fn deaf<C: Cell>(case: &Case<C>, hear: fn(ForwardContext) -> ForwardContext) -> String {
    let refused = case.objective(|objective| {
        let loss = |context: &ForwardContext| (objective.loss)(&hear(*context));
        let objective = Objective { loss: &loss, ..*objective };
        let (share, bias) = (long_range_share(&objective, &[2]), truncation(&objective, &[2]));
        assert!(bias.is_err(), "both refuse");
        share
    });
    refused.expect_err("the flow does nothing").to_string()
}

#[test]
fn layers_that_ignore_the_flow_are_refused() -> Result<()> {
    for reads in [LossReads::Ends, LossReads::Steps] {
        let case = Case::new(&LstmConfig::default(), 2, &RAGGED, reads)?;
        let error = deaf(&case, |context| ForwardContext { record: None, ..context });
        assert!(error.starts_with("objective: expected traces of 2 layers, got []"), "{error}");
        let error = deaf(&case, |context| context.bptt(Bptt::default()));
        let expected = match reads {
            LossReads::Ends => {
                "objective: expected no gradient of h_l0 at lag 2 under Some(Last(2)), got some"
            }
            LossReads::Steps => {
                "objective: the gradient of h_l0 is the same with and without Some(Last(2))"
            }
        };
        assert!(error.starts_with(expected), "{error}");
    }
    Ok(())
}

#[test]
fn reading_other_steps_must_be_declared() -> Result<()> {
    let case = Case::new(&GruConfig::default(), 1, &RAGGED, LossReads::Steps)?;
    let error = case.objective(|objective| {
        long_range_share(&Objective { reads: LossReads::Ends, ..*objective }, &[3])
    });
    let error = error.expect_err("it reads every step").to_string();
    assert!(error.contains("or something reads more than the ends"), "{error}");
    Ok(())
}

#[test]
fn wrong_arguments_are_named() -> Result<()> {
    let case = Case::new(&VanillaConfig::default(), 1, &[3, 3], LossReads::Ends)?;
    let error =
        |f: fn(&Objective) -> Result<()>| case.objective(f).expect_err("refused").to_string();
    let zero = error(|objective| long_range_share(objective, &[1, 0]).map(drop));
    assert!(
        zero.starts_with("long-range share lags: expected at least 1 each, got [1, 0]"),
        "{zero}"
    );
    let window = error(|objective| truncation(objective, &[0]).map(drop));
    assert!(window.starts_with("bptt truncation: expected at least 1 step, got 0"), "{window}");
    let none = error(|objective| {
        long_range_share(&Objective { weights: &[], ..*objective }, &[1]).map(drop)
    });
    assert!(none.starts_with("objective weights: expected at least one"), "{none}");
    let constant = error(|objective| {
        let weights = [("w".to_string(), objective.weights[0].1.detach())];
        truncation(&Objective { weights: &weights, ..*objective }, &[1]).map(drop)
    });
    assert!(constant.starts_with("objective weights: expected variables, got w"), "{constant}");
    Ok(())
}
