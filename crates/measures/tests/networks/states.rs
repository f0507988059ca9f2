//! Measures of recorded gradients and observed states on networks whose gradients are known.

use super::plain::{dot, flat, sum, values, Case, HIDDEN, INPUT};
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::ops::sigmoid;
use candle_nn::{VarBuilder, VarMap};
use recurrent_core::{
    linear, ActivationRecorder, Cell, Direction, ForwardContext, Gate, GradientRecorder,
    HiddenState, Layer, LayerId, Params, Record, Rnn, Sequence, Stack,
};
use recurrent_gru::GruConfig;
use recurrent_lstm::LstmConfig;
use recurrent_measures::{
    carousel, depth, gates, gradient_noise, rank, shadow, Applicable, LossReads, Objective, Profile,
};
use recurrent_vanilla::VanillaConfig;

fn near(what: &str, found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= 1e-10 * expected.abs(),
        "{what}: {found:e}, not {expected:e}"
    );
}

/// h' = a h + b x, unit by unit.
#[derive(Clone, Params)]
struct Leak {
    a: Tensor, // (1)
    #[param(skip)]
    b: f64,
    #[param(skip)]
    size: usize,
}

impl Leak {
    fn new(a: f64, b: f64, size: usize, dtype: DType) -> Result<Self> {
        let a = Var::from_tensor(&Tensor::new(&[a], &Device::Cpu)?.to_dtype(dtype)?)?.into_inner();
        Ok(Self { a, b, size })
    }
}

impl Cell for Leak {
    type State = HiddenState;

    fn input_size(&self) -> usize {
        self.size
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.size]
    }

    fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
        Ok(HiddenState { h: (s.h.broadcast_mul(&self.a)? + (x * self.b)?)? })
    }
}

/// h' = z ∘ h + (1 − z) ∘ x with z = σ(W x): a gate that keeps h, and no other path.
#[derive(Clone, Params)]
struct Keeper(Tensor);

impl Cell for Keeper {
    type State = HiddenState;

    fn input_size(&self) -> usize {
        self.0.dims()[1]
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.0.dims()[0]]
    }

    fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
        let z = sigmoid(&linear(x, &self.0, None)?)?;
        Ok(HiddenState { h: (x + (z * (&s.h - x)?)?)? })
    }

    fn gates(&self, x: &Tensor, _: &HiddenState) -> Result<Vec<Gate>> {
        Ok(vec![Gate { name: "z", values: sigmoid(&linear(x, &self.0, None)?)?, keeps: true }])
    }
}

#[test]
fn without_recurrent_weights_the_carousel_is_the_whole_gradient() -> Result<()> {
    let case = Case::new(&LstmConfig::forget_bias(1.0), 1, &[9, 4, 7], LossReads::Ends)?;
    for (name, weight) in case.chains[0].cells[0].params() {
        if name.starts_with("weight_hh") {
            Var::from_tensor(&weight)?.set(&weight.zeros_like()?)?;
        }
    }
    let found =
        case.objective(|it| carousel(&it.observations()?, &it.traces(Record::Gradients)?))?;
    let found = found[0].carousel.value().expect("an LSTM has one");
    assert_eq!(
        (&found.field[..], &found.gate[..], found.lag[0], found.lag.len()),
        ("c", "f", 1, 9)
    );
    for (at, lag) in found.lag.iter().enumerate() {
        near(&format!("lag {lag}"), found.alone[at], found.measured[at]);
        assert!(found.rest[at] <= 1e-13 * found.measured[at], "lag {lag}: {:e}", found.rest[at]);
    }
    Ok(())
}

#[test]
fn the_carousel_is_the_product_of_the_gates() -> Result<()> {
    let case = Case::new(&LstmConfig::forget_bias(1.0), 2, &[6, 6, 3], LossReads::Ends)?;
    case.objective(|it| {
        let (seen, traces) = (it.observations()?, it.traces(Record::Gradients)?);
        for (layer, found) in carousel(&seen, &traces)?.iter().enumerate() {
            assert_eq!(found.layer_id, LayerId::layer(layer));
            let found = found.carousel.value().expect("an LSTM has one");
            let forget = seen[layer].gates[1].values.to_vec3::<f64>()?;
            let trace = &traces[2 * layer + 1];
            for (measured, median) in
                found.measured.iter().zip(&Profile::from_trace(trace).median[1..])
            {
                near("measured", *measured, *median);
            }
            let gradients = trace.gradients.as_ref().expect("kept").to_vec3::<f64>()?;
            // At lag 5 only the two examples of 6 steps count: c_5 to c_1 passes the gates of the
            // steps 1 to 4.
            let (mut logs, mut alone, mut rest) = (0.0, 0.0, 0.0);
            for row in 0..2 {
                let (mut squares, mut differences) = (0.0, 0.0);
                for unit in 0..HIDDEN {
                    let product: f64 = (1..5).map(|t| forget[row][t][unit]).product();
                    logs += product.ln() / (2 * HIDDEN) as f64;
                    squares += (gradients[row][5][unit] * product).powi(2);
                    differences +=
                        (gradients[row][1][unit] - gradients[row][5][unit] * product).powi(2);
                }
                alone += 3.0 * f64::sqrt(squares) / 2.0;
                rest += 3.0 * f64::sqrt(differences) / 2.0;
            }
            near("geometric mean", found.product()[4], logs.exp());
            near("alone", found.alone[4], alone);
            near("rest", found.rest[4], rest);
            assert_eq!(
                (found.product()[0], found.rest[0]),
                (1.0, 0.0),
                "at the reference they are the same"
            );
            assert!(found.rest[4] > 1e-3 * found.measured[4], "there is a path through h");
        }
        Ok(())
    })
}

#[test]
fn a_kept_output_has_its_reference_at_lag_zero() -> Result<()> {
    let keeper = Keeper(Var::from_tensor(&values(&[INPUT, INPUT], 1.0, 0.0)?)?.into_inner());
    let layer = Rnn::from_cell(keeper);
    let xs = Sequence::padded(values(&[2, 5, INPUT], 1.0, 2.0)?, &[5, 3])?;
    let loss = |context: &ForwardContext| layer.last(&xs, None, context)?.0.sqr()?.mean_all();
    let it = Objective { loss: &loss, weights: &layer.params(), depth: 1, reads: LossReads::Ends };
    let found = carousel(&it.observations()?, &it.traces(Record::Gradients)?)?;
    let found = found[0].carousel.value().expect("it names its gate");
    assert_eq!(
        (&found.field[..], &found.gate[..], found.lag[0], found.lag.len()),
        ("h", "z", 0, 6)
    );
    for at in 0..6 {
        near("alone", found.alone[at], found.measured[at]);
        assert!(found.rest[at] <= 1e-13 * found.measured[at]);
    }
    let open = gates(&it.observations()?)?;
    let z = &open[0].gates.value().expect("it names its gate")[0];
    let rows = xs.values().to_vec3::<f64>()?;
    let means = (0..INPUT).map(|unit| {
        let w = values(&[INPUT, INPUT], 1.0, 0.0).and_then(|w| w.to_vec2::<f64>()).expect("small")
            [unit]
            .clone();
        let real = rows[0].iter().chain(&rows[1][..3]);
        real.map(|x| 1.0 / (1.0 + (-dot(&w, x)).exp())).sum::<f64>() / 8.0
    });
    for (unit, mean) in means.enumerate() {
        near("mean of z", z.units[unit].mean, mean);
    }
    Ok(())
}

#[test]
fn a_cell_that_names_no_gate_has_no_carousel() -> Result<()> {
    let case = Case::new(&VanillaConfig::default(), 1, &[4], LossReads::Ends)?;
    let found =
        case.objective(|it| carousel(&it.observations()?, &it.traces(Record::Gradients)?))?;
    assert!(matches!(found[0].carousel, Applicable::NotApplicable(_)), "{found:?}");
    Ok(())
}

/// The traces of h' = a h + x over `steps` steps under a loss that sums the first unit's last value
/// and `second` times the second unit's.
fn leaked(
    a: f64,
    second: f64,
    steps: usize,
    dtype: DType,
) -> Result<Vec<recurrent_core::GradientTrace>> {
    let layer = Rnn::from_cell(Leak::new(a, 1.0, 2, dtype)?);
    let xs = Sequence::new(Tensor::zeros((1, steps, 2), dtype, &Device::Cpu)?)?;
    let recorder = GradientRecorder::new(Record::Gradients);
    let (last, _) = layer.last(&xs, None, &ForwardContext::default().record(&recorder))?;
    let weights = Tensor::new(&[1.0, second], &Device::Cpu)?.to_dtype(dtype)?;
    last.broadcast_mul(&weights)?.sum_all()?.backward()?;
    Ok(recorder.take())
}

#[test]
fn a_halving_gradient_underflows_in_f32_at_the_known_lag() -> Result<()> {
    // 2^-126 is the smallest normal number of f32, 2^-149 the smallest subnormal one.
    let found =
        &shadow(&leaked(0.5, 0.0, 160, DType::F32)?, &leaked(0.5, 0.0, 160, DType::F64)?)?[0];
    assert_eq!(
        (found.first.zero, found.first.subnormal, found.first.lost),
        (Some(0), Some(127), Some(127))
    );
    assert_eq!((found.first.nan, found.first.infinity, found.first.overflowed), (None, None, None));
    let zeros = |lag: usize| (found.lags[lag].zeros, found.lags[lag].lost_zeros);
    assert_eq!(
        (zeros(0), zeros(149), zeros(150)),
        ((1, 0), (1, 0), (2, 1)),
        "one is zero by construction"
    );
    let subnormals = |lag: usize| (found.lags[lag].subnormals, found.lags[lag].lost_subnormals);
    assert_eq!((subnormals(126), subnormals(149), subnormals(150)), ((0, 0), (1, 1), (0, 0)));
    assert_eq!((found.lags[149].error, found.lags[150].error, found.error), (0.0, 1.0, 1.0));
    Ok(())
}

#[test]
fn a_gradient_that_grows_overflows_f32() -> Result<()> {
    // 4^64 = 2^128 is infinite in f32, and so are all gradients further back.
    let (single, double) = (leaked(4.0, 0.0, 70, DType::F32)?, leaked(4.0, 0.0, 70, DType::F64)?);
    let found = &shadow(&single, &double)?[0];
    assert_eq!(
        (found.first.infinity, found.first.overflowed, found.first.nan),
        (Some(64), Some(64), None)
    );
    assert_eq!((found.lags[63].error, found.error), (0.0, f64::INFINITY));
    assert_eq!((single[0].infinities[64], single[0].nans[64], double[0].infinities[64]), (1, 0, 0));
    let error = shadow(&double, &double).expect_err("not f32").to_string();
    assert!(
        error.starts_with("shadow of h_l0: expected gradients of one batch in f32 and in f64"),
        "{error}"
    );
    Ok(())
}

#[test]
fn nan_in_both_precisions_is_not_an_overflow() -> Result<()> {
    let found =
        &shadow(&leaked(0.5, f64::NAN, 3, DType::F32)?, &leaked(0.5, f64::NAN, 3, DType::F64)?)?[0];
    assert_eq!((found.first.nan, found.first.overflowed, found.first.lost), (Some(0), None, None));
    assert_eq!((found.lags[3].nans, found.lags[3].elements, found.error), (1, 2, f64::INFINITY));
    Ok(())
}

#[test]
fn depth_and_time_are_distinguished() -> Result<()> {
    // The top layer keeps 0.9 per step and takes 0.1 of its input; the bottom layer keeps 0.5.
    let (bottom, top, gain, steps) = (0.5f64, 0.9f64, 0.1, 60);
    let layers: Vec<Box<dyn Layer>> = vec![
        Box::new(
            Rnn::from_cell(Leak::new(bottom, 1.0, 1, DType::F64)?).named_for(LayerId::layer(0)),
        ),
        Box::new(Rnn::from_cell(Leak::new(top, gain, 1, DType::F64)?).named_for(LayerId::layer(1))),
    ];
    let stack = Stack::from_layers(layers)?;
    let xs = Sequence::new(Tensor::ones((3, steps, 1), DType::F64, &Device::Cpu)?)?;
    let loss = |context: &ForwardContext| stack.last(&xs, None, context)?.0.mean_all();
    let it = Objective { loss: &loss, weights: &stack.params(), depth: 2, reads: LossReads::Ends };
    let found = depth(&it)?;
    let below = |lag: usize| -> f64 {
        gain * (0..=lag).map(|j| top.powi(j as i32) * bottom.powi((lag - j) as i32)).sum::<f64>()
    };
    let above = |lag: usize| top.powi(lag as i32);
    let pooled =
        |norm: &dyn Fn(usize) -> f64| (0..steps).map(|lag| norm(lag).powi(2)).sum::<f64>().sqrt();
    near("bottom, pooled", found.layers[0].pooled, pooled(&below));
    near("top, pooled", found.layers[1].pooled, pooled(&above));
    near("bottom, end", found.layers[0].end, gain);
    near("top, half-life", found.layers[1].half_life.expect("it decays"), 0.5f64.ln() / top.ln());
    // The gradient of a: Σ_k dL/dh_{T-k} h_{T-k-1}.
    let mut states = (0.0, 0.0, vec![(0.0, 0.0)]);
    for _ in 0..steps {
        states.0 = bottom * states.0 + 1.0;
        states.1 = top * states.1 + gain * states.0;
        states.2.push((states.0, states.1));
    }
    let before = |lag: usize| states.2[steps - lag - 1];
    let weights = [
        (0..steps).map(|lag| below(lag) * before(lag).0).sum::<f64>(),
        (0..steps).map(|lag| above(lag) * before(lag).1).sum::<f64>(),
    ];
    for (layer, weight) in found.layers.iter().zip(weights) {
        near("weights", layer.weights.expect("each has one"), weight);
    }
    let [along] = &found.along_depth[..] else { panic!("one direction: {found:?}") };
    near("ratio at the end", along.end.expect("finite"), gain);
    near("ratio, pooled", along.pooled.expect("finite"), pooled(&below) / pooled(&above));
    near("ratio of weights", along.weights.expect("finite"), weights[0] / weights[1]);
    assert_eq!((along.reverse, along.layers, found.other_weights), (false, 1, 0.0));
    Ok(())
}

#[test]
fn depth_has_both_directions() -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let stack = Stack::new(INPUT, HIDDEN, 3, Direction::Bidirectional, &GruConfig::default(), vb)?;
    let xs = Sequence::new(values(&[3, 12, INPUT], 1.0, 0.0)?)?;
    let loss = |context: &ForwardContext| stack.last(&xs, None, context)?.0.sqr()?.mean_all();
    let mut weights = stack.params();
    weights.push(("head".to_string(), Var::from_tensor(&values(&[2], 1.0, 0.0)?)?.into_inner()));
    let found =
        depth(&Objective { loss: &loss, weights: &weights, depth: 3, reads: LossReads::Ends })?;
    let along: Vec<_> =
        found.along_depth.iter().map(|along| (along.reverse, along.layers)).collect();
    assert_eq!(
        (found.layers.len(), along, found.other_weights),
        (6, vec![(false, 2), (true, 2)], 0.0)
    );
    let (bottom, top) = (found.layers[1].pooled, found.layers[5].pooled);
    near("reversed", found.along_depth[1].pooled.expect("finite"), bottom / top);
    near("two layers", found.along_depth[1].factor(bottom / top).powi(2), bottom / top);
    Ok(())
}

#[test]
fn noise_of_batches_is_that_of_their_examples() -> Result<()> {
    let first = Case::new(&LstmConfig::default(), 1, &[5, 3], LossReads::Ends)?;
    let mut second = Case::new(&LstmConfig::default(), 1, &[5, 5], LossReads::Ends)?;
    second.xs = values(&[2, 5, INPUT], 1.5, 40.0)?;
    let found =
        first.objective(|first| second.objective(|second| gradient_noise(&[*first, *second])))?;
    let gradients = [&first, &second].map(|case| {
        let parts = case.parts(usize::MAX, None).expect("the loop runs");
        flat(&sum(&parts, 0..usize::MAX))
    });
    let [a, b] = &gradients;
    near("weights", found.all.expect("finite"), dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
    assert_eq!((found.weights.len(), found.states.len()), (4, 2));
    // Each example by itself, at lag 4, which the short one does not have.
    let mut rows = Vec::new();
    for (case, row) in [(&first, 0), (&second, 0), (&second, 1)] {
        let mut alone = Case::new(&LstmConfig::default(), 1, &[5], LossReads::Ends)?;
        alone.xs = case.xs.narrow(0, row, 1)?;
        let traces = alone.objective(|alone| alone.traces(Record::Gradients))?;
        let gradients = traces[0].gradients.as_ref().expect("kept").to_vec3::<f64>()?;
        rows.push(gradients[0][1].clone());
    }
    let mean: Vec<f64> =
        (0..HIDDEN).map(|unit| rows.iter().map(|row| row[unit]).sum::<f64>() / 3.0).collect();
    let away: f64 = rows
        .iter()
        .flat_map(|row| row.iter().zip(&mean).map(|(value, mean)| (value - mean).powi(2)))
        .sum();
    let lag = &found.states[0].lags[4];
    assert_eq!(lag.examples, 3);
    near("snr", lag.snr.expect("finite"), (dot(&mean, &mean) / (away / 3.0)).sqrt());
    near("floor", lag.floor, 3f64.sqrt().recip());
    let other: Vec<_> = rows[1].iter().zip(&rows[2]).map(|(a, b)| (a + b) / 2.0).collect();
    let norms = (dot(&rows[0], &rows[0]) * dot(&other, &other)).sqrt();
    near("agreement", lag.agreement.expect("finite"), dot(&rows[0], &other) / norms);
    let same = first.objective(|first| gradient_noise(&[*first, *first]))?;
    near("the same batch", same.all.expect("finite"), 1.0);
    near("the same batch", same.states[0].lags[2].agreement.expect("finite"), 1.0);
    let error = first.objective(|first| gradient_noise(&[*first])).expect_err("one").to_string();
    assert!(error.starts_with("gradient noise: expected at least 2 batches, got 1"), "{error}");
    Ok(())
}

#[test]
fn rank_of_the_states_of_a_network() -> Result<()> {
    // h' = x: the states are the inputs, which are on a line at the first batch position and in a
    // plane over both.
    let layer = Rnn::from_cell(Leak::new(0.0, 1.0, 3, DType::F64)?);
    let xs = [[[1.0, 0., 5.], [0.0, 2., 5.]], [[-1.0, 0., 5.], [0.0, -2., 5.]]];
    let xs = Sequence::new(Tensor::new(&xs, &Device::Cpu)?)?;
    let activations = ActivationRecorder::default();
    layer.run(&xs, None, &ForwardContext::default().activations(&activations))?;
    let found = &rank(&activations.take(), &[1, 2])?[0];
    // Eigenvalues 2 and 8, and 0 for the unit that is constant at 5.
    near("participation", found.pooled.participation.expect("it varies"), 100.0 / 68.0);
    let entropy = -(0.2f64 * 0.2f64.ln() + 0.8 * 0.8f64.ln());
    near("entropy", found.pooled.entropy.expect("it varies"), entropy.exp());
    near("saturation", found.pooled.saturation.expect("it varies"), 2.0 / 3.0);
    assert_eq!((found.pooled.count, found.pooled.most), (4, 3));
    assert_eq!((&found.still[..], &found.zero[..]), (&[2][..], &[][..]));
    for (step, spread) in &found.steps {
        near(&format!("step {step}"), spread.participation.expect("it varies"), 1.0);
        assert_eq!((spread.count, spread.most, spread.saturation), (2, 1, Some(1.0 / 3.0)));
    }
    Ok(())
}
