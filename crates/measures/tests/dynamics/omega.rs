//! Ω against its formula, written out.

use super::cells::{layer, sequences, silence, Elman, Linear};
use candle_core::{DType, Device, Tensor};
use recurrent_core::{
    ActivationRecorder, Activations, ForwardContext, GradientRecorder, GradientTrace, Layer,
    Record, RecurrentDropout, Sequence, Stack,
};

use recurrent_lstm::LstmConfig;
use recurrent_measures::{gradients_from_traces, omega, omega_penalty, Omega, Trajectory};
use recurrent_testkit::close::expect_error;
use recurrent_testkit::finite_difference::derivative;
use recurrent_testkit::{noise, Result};
use recurrent_vanilla::VanillaConfig;

fn is(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance * expected.abs(),
        "{what}: {found}, expected {expected}"
    );
}

/// The traces and activations under a loss that reads all outputs.
fn context(layer: &dyn Layer, xs: &Sequence) -> Result<(Vec<GradientTrace>, Activations)> {
    let (recorder, activations) =
        (GradientRecorder::new(Record::Gradients), ActivationRecorder::default());
    let (ys, _) = layer.run(
        xs,
        None,
        &ForwardContext::default().record(&recorder).activations(&activations),
    )?;
    let weight = noise("loss", ys.values().dims())?;
    (ys.values() * weight)?.sum_all()?.backward()?;
    Ok((recorder.take(), activations.take().remove(0)))
}

/// For every real step: the norm of g_{t+1}, and that of (g_{t+1} ∘ (1 − h²_{t+1})) U by plain
/// loops over numbers.
fn by_hand(
    u: &[Vec<f64>],
    traces: &[GradientTrace],
    seen: &Activations,
) -> Result<Vec<(f64, f64)>> {
    let g = traces[0].gradients.as_ref().expect("kept").to_vec3::<f64>()?;
    let h = seen.states[0].1.to_vec3::<f64>()?;
    let mut norms = Vec::new();
    for (example, &len) in traces[0].lengths.iter().enumerate() {
        for t in 1..=len {
            let slope = |i: usize| g[example][t][i] * (1.0 - h[example][t][i].powi(2));
            let back = |j: usize| (0..u.len()).map(|i| slope(i) * u[i][j]).sum::<f64>().powi(2);
            let after = g[example][t].iter().map(|g| g * g).sum::<f64>().sqrt();
            norms.push((after, (0..u.len()).map(back).sum::<f64>().sqrt()));
        }
    }
    Ok(norms)
}

fn code(norms: &[(f64, f64)]) -> f64 {
    let one = |(after, before): &(f64, f64)| ((before / after).powi(2) - 1.0).powi(2);
    norms.iter().map(one).sum::<f64>() / norms.len() as f64
}

#[test]
fn both_forms_are_their_formulas() -> Result<()> {
    let (layer, xs) = (Elman::layer(2, 5, 1.3)?, sequences(3, 6, 2)?);
    let (traces, seen) = context(&layer, &xs)?;
    let found = omega(&Trajectory::new(&layer, &xs, None)?, &gradients_from_traces(&traces)?)?;
    let norms = by_hand(&layer.cell().u.to_vec2::<f64>()?, &traces, &seen)?;
    let paper: f64 = norms.iter().map(|(after, before)| (before / after - 1.0).powi(2)).sum();
    is("paper", found.paper, paper / 3.0, 1e-12);
    is("code", found.code, code(&norms), 1e-12);
    assert_eq!(found.steps, 6.0);
    Ok(())
}

#[test]
fn omega_is_zero_for_an_orthogonal_network_and_known_for_a_scaled_one() -> Result<()> {
    let turned =
        |gain: f64| Linear::layer(&[vec![0.6 * gain, -0.8 * gain], vec![0.8 * gain, 0.6 * gain]]);
    for (gain, paper, code) in [(1.0, 0.0, 0.0), (2.0, 5.0, 9.0), (0.5, 1.25, 0.5625)] {
        let layer = turned(gain)?;
        let trajectory = Trajectory::new(&layer, &silence(2, 5)?, None)?;
        let last = Tensor::new(&[[1.0, 0.0], [3.0, 4.0]], &Device::Cpu)?;
        let found = omega(&trajectory, &trajectory.gradients(&last)?)?;
        let off = (found.paper - paper).abs() + (found.code - code).abs();
        assert!(off <= 1e-12, "{gain}: {found:?}");
        assert_eq!(found.steps, 5.0);
    }
    Ok(())
}

#[test]
fn steps_without_a_gradient_do_not_count() -> Result<()> {
    let layer = Linear::layer(&[vec![1e-4]])?;
    let trajectory = Trajectory::new(&layer, &silence(1, 6)?, None)?;
    // ‖g‖ is 1, 1e-4, 1e-8, 1e-12: the first three are above 1e-10.
    let last = Tensor::ones((1, 1), DType::F64, &Device::Cpu)?;
    let found = omega(&trajectory, &trajectory.gradients(&last)?)?;
    assert_eq!(found.steps, 3.0);
    is("code", found.code, (1.0 - 1e-8f64).powi(2), 1e-9);
    let none = omega(&trajectory, &trajectory.gradients(&last.zeros_like()?)?)?;
    assert_eq!(none, Omega { paper: 0.0, code: 0.0, steps: 0.0 });
    Ok(())
}

#[test]
fn the_penalty_is_the_measure_and_its_gradient_the_immediate_one() -> Result<()> {
    let layer = Elman::layer(2, 5, 1.3)?;
    let xs = Sequence::padded(noise("xs", &[3, 6, 2])?, &[6, 2, 4])?;
    let (traces, seen) = context(&layer, &xs)?;
    let penalty = omega_penalty(&layer, &xs, &traces, &seen)?;
    let u = layer.cell().u.to_vec2::<f64>()?;
    is("value", penalty.to_scalar()?, code(&by_hand(&u, &traces, &seen)?), 1e-12);
    let grads = penalty.backward()?;
    let found = grads.get(&layer.cell().u).expect("the recurrent weight").to_vec2::<f64>()?;
    for (i, row) in found.iter().enumerate() {
        for (j, found) in row.iter().enumerate() {
            let moved = |step: f64| {
                let mut u = u.clone();
                u[i][j] += step; // states, slopes and gradients stay what they were
                Ok(code(&by_hand(&u, &traces, &seen)?))
            };
            let expected = derivative(moved)?;
            assert!((found - expected).abs() <= 1e-8, "{i}, {j}: {found}, expected {expected}");
        }
    }
    assert!(grads.get(&layer.cell().w).is_none(), "the input weight does not carry a graph");
    Ok(())
}

#[test]
fn an_lstm_and_a_stack_of_one_can_be_penalised() -> Result<()> {
    let xs = sequences(3, 6, 2)?;
    let stack = Stack::from_layers(vec![Box::new(layer(&LstmConfig::default(), 2, 4)?)])?;
    let (traces, seen) = context(&stack, &xs)?;
    let penalty = omega_penalty(&stack, &xs, &traces, &seen)?;
    let trajectory = Trajectory::new(&stack, &xs, None)?;
    let measured = omega(&trajectory, &gradients_from_traces(&traces)?)?;
    is("value", penalty.to_scalar()?, measured.code, 1e-12);
    let grads = penalty.backward()?;
    let reached: Vec<_> = stack
        .params()
        .into_iter()
        .filter(|(_, weight)| grads.get(weight).is_some())
        .map(|(name, _)| name)
        .collect();
    assert_eq!(reached, ["weight_hh_l0"]);
    Ok(())
}

#[test]
fn without_gradients_the_penalty_is_zero_and_invalid_input_is_refused() -> Result<()> {
    let (xs, elman) = (sequences(3, 4, 2)?, Elman::layer(2, 5, 1.0)?);
    let (mut traces, seen) = context(&elman, &xs)?;
    let other = Activations {
        states: vec![("h", Tensor::zeros((3, 4, 5), DType::F64, &Device::Cpu)?)],
        ..seen.clone()
    };
    expect_error(
        "other",
        omega_penalty(&elman, &xs, &traces, &other),
        "omega, observation: expected states [3, 5, 5]",
    )?;
    let zeros = traces[0].gradients.as_ref().expect("kept").zeros_like()?;
    traces[0].gradients = Some(zeros);
    assert_eq!(omega_penalty(&elman, &xs, &traces, &seen)?.to_scalar::<f64>()?, 0.0);
    traces[0].gradients = None;
    expect_error(
        "norms",
        omega_penalty(&elman, &xs, &traces, &seen),
        "omega, traces: expected gradients, got norms alone",
    )?;
    let zoneout = RecurrentDropout::zoneout(0.1, 0.0);
    let mixed = layer(&VanillaConfig::default(), 2, 5)?.with_recurrent_dropout(zoneout)?;
    let (traces, seen) = context(&mixed, &xs)?;
    expect_error(
        "no closed form",
        omega_penalty(&mixed, &xs, &traces, &seen),
        "omega: this layer has no closed form",
    )
}
