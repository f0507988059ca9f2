//! Every kernel against the replay of its cell's `step`: outputs, carry, all gradients and the
//! recorder, over random shapes.

mod teams;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use proptest::prelude::*;
use recurrent::{
    Bptt, Carry, Cell, CellConfig, Execution, ForwardContext, GradientRecorder, GruConfig,
    HiddenGradClip, Layer, LayerId, LayerNormGruConfig, LayerNormLstmConfig, Lstm, LstmConfig,
    Nonlinearity, Recompute, Record, RecurrentDropout, Reset, Rnn, Sequence, State,
    TemporalResidual, VanillaConfig,
};
use recurrent_testkit::cases;

/// One random case.
#[derive(Clone, Debug)]
struct Shape {
    batch: usize,
    time: usize,
    input: usize,
    hidden: usize,
    lengths: Option<Vec<usize>>,
    reverse: bool,
    reads: [bool; 2], // outputs, carry
    bias: bool,
    noise: Option<bool>, // in training, or in evaluation
    checkpoint: Recompute,
    flow: Bptt,
}

impl Shape {
    /// At most 12 steps: a layer-normed network of few units is often chaotic, and more steps leave
    /// nothing to compare.
    fn short(mut self) -> Self {
        self.time = self.time.min(12);
        self.lengths.iter_mut().flatten().for_each(|length| *length = (*length).min(self.time));
        self
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let sizes = (
        prop_oneof![1usize..6, 30usize..36, Just(65)],
        prop_oneof![1usize..20, 60usize..70],
        prop_oneof![1usize..4, Just(17)],
        prop_oneof![1usize..10, 15usize..18, Just(33)],
    );
    let choices = (any::<bool>(), any::<bool>(), 0..3, any::<bool>(), any::<u64>());
    (sizes, choices).prop_map(
        |((batch, time, input, hidden), (ragged, reverse, reads, bias, seed))| {
            let lengths = (0..batch as u64)
                .map(|row| 1 + ((seed ^ row.wrapping_mul(0x9e37_79b9)) % time as u64) as usize);
            let lengths = ragged.then(|| lengths.collect());
            let noise = [None, None, Some(true), Some(false)][(seed >> 7) as usize % 4];
            let checkpoint = [Recompute::Auto, Recompute::SquareRoot, Recompute::Every(5)]
                [(seed >> 11) as usize % 3];
            let steps = 1 + (seed >> 19) as usize % (time + 1);
            let (value, norm) = (HiddenGradClip::Value(0.1), HiddenGradClip::Norm(0.2));
            let flow = match (seed >> 15) % 8 {
                0 => Bptt::truncated(steps),
                1 => Bptt::last(steps),
                2 => Bptt::clipped(value),
                3 => Bptt::clipped(norm),
                4 => Bptt { clip: Some(norm), ..Bptt::truncated(steps) },
                _ => Bptt::default(),
            };
            Shape {
                batch,
                time,
                input,
                hidden,
                lengths,
                reverse,
                reads: [reads != 0, reads != 1],
                bias,
                noise,
                checkpoint,
                flow,
            }
        },
    )
}

/// Outputs, carry, gradients and recorded gradients of one implementation, with `off` added to
/// inputs and states.
fn run<K: CellConfig>(
    config: &K,
    shape: &Shape,
    path: Execution,
    dtype: DType,
    off: f64,
) -> Result<Vec<(String, Tensor)>> {
    let device = &Device::Cpu;
    let map = VarMap::new();
    let layer_id = LayerId { layer: 0, reverse: shape.reverse };
    let vb = VarBuilder::from_varmap(&map, dtype, device);
    let layer = Rnn::at_layer(layer_id, shape.input, shape.hidden, config, vb)?
        .with_execution(path)
        .with_recompute(shape.checkpoint)?;
    let zoneout_c = if layer.cell().state_sizes().len() == 2 { 0.3 } else { 0.0 };
    let noise =
        RecurrentDropout { input: 0.1, recurrent: 0.3, zoneout_h: 0.2, zoneout_c, weights: 0.2 };
    let layer = if shape.noise.is_some() { layer.with_recurrent_dropout(noise)? } else { layer };
    let context = if shape.noise == Some(true) {
        ForwardContext::train(7, 3)
    } else {
        ForwardContext::default()
    };
    let wave = |dims: &[usize], phase: f64| {
        let count = dims.iter().product::<usize>();
        let values: Vec<_> =
            (0..count).map(|i| ((i as f64 + phase) * 1.37 * phase).sin()).collect();
        Tensor::from_vec(values, dims, device)?.to_dtype(dtype)
    };
    let near = |dims: &[usize], phase: f64| -> Result<Tensor> {
        wave(dims, phase)? + (wave(dims, phase + 0.17)? * off)?
    };
    let xs = Var::from_tensor(&near(&[shape.batch, shape.time, shape.input], 1.1)?)?;
    let sequence = match &shape.lengths {
        Some(lengths) => Sequence::padded(xs.as_tensor().clone(), lengths)?,
        None => Sequence::new(xs.as_tensor().clone())?,
    };
    let zero = layer.cell().zero_state(shape.batch, dtype, device)?;
    fn names<C: Cell>(_: &C) -> &'static [&'static str] {
        C::State::FIELDS
    }
    let start = zero.fields().into_iter().enumerate();
    let start = start.map(|(i, field)| Var::from_tensor(&near(field.dims(), 2.3 + i as f64)?));
    let start = start.collect::<Result<Vec<_>>>()?;
    let fields =
        names(layer.cell()).iter().copied().zip(start.iter().map(|var| var.as_tensor().clone()));
    let carry = Carry::Cell(fields.collect());
    let recorder = GradientRecorder::new(Record::Gradients);
    let (ys, end) =
        layer.run(&sequence, Some(&carry), &context.record(&recorder).bptt(shape.flow))?;
    let mut found = vec![("ys".to_string(), ys.values().clone())];
    let mut loss = Tensor::zeros((), dtype, device)?;
    if shape.reads[0] {
        loss = (loss + (ys.values() * wave(ys.values().dims(), 3.7)?)?.sum_all()?)?;
    }
    for (index, field) in names(layer.cell()).iter().enumerate() {
        let value = end.field(field)?;
        found.push((format!("carry {field}"), value.clone()));
        if shape.reads[1] {
            loss = (loss + (value * wave(value.dims(), 4.1 + index as f64)?)?.sum_all()?)?;
        }
    }
    let grads = loss.backward()?;
    let mut leaves: Vec<_> = layer.params();
    leaves.push(("xs".to_string(), xs.as_tensor().clone()));
    leaves.extend(
        start.iter().enumerate().map(|(i, var)| (format!("start {i}"), var.as_tensor().clone())),
    );
    for (name, leaf) in leaves {
        found.push((
            format!("gradient of {name}"),
            grads.get(&leaf).expect("every leaf has a gradient").clone(),
        ));
    }
    for trace in recorder.take() {
        let sums = Tensor::from_vec(trace.batch_norms.clone(), trace.lags(), device)?;
        found.push((format!("recorded sums of {}", trace.field), sums));
        found.push((format!("recorded {}", trace.field), trace.gradients.expect("kept")));
    }
    Ok(found)
}

/// Layer norm divides by deviations that may be small, and some random networks are chaotic. Both
/// amplify rounding. So implementations may differ by the rounding of sums of some thousand terms,
/// and by the effect of rounding on the replay itself: in f32 its difference to f64, in f64 its
/// response to inputs and states that are off by 2^-52.
///
/// `amplified`: layer norm's gradient is a difference of nearly equal numbers divided by a
/// deviation of √eps = 0.003 and more. If they are equal, as with one unit, the gradient is
/// rounding only; errors are then relative to norms of at least `FLOOR` times as much.
fn compare<K: CellConfig>(config: &K, shape: &Shape, amplified: f64) -> Result<()> {
    let norm = |t: &Tensor| t.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>();
    let wide = |t: &Tensor| t.to_dtype(DType::F64);
    let floor = FLOOR * amplified;
    let exact = run(config, shape, Execution::Replay, DType::F64, 0.0)?;
    let off = run(config, shape, Execution::Replay, DType::F64, f64::EPSILON)?;
    for (dtype, rounding, others) in [(DType::F64, 1e-12, &off), (DType::F32, 2e-5, &exact)] {
        let replay = run(config, shape, Execution::Replay, dtype, 0.0)?;
        let kernel = run(config, shape, Execution::Kernel, dtype, 0.0)?;
        assert_eq!(replay.len(), kernel.len());
        for (((name, expected), (_, found)), (_, other)) in replay.iter().zip(&kernel).zip(others) {
            let (expected, found, other) = (wide(expected)?, wide(found)?, wide(other)?);
            let (error, scale) = (norm(&(found - &expected)?)?, norm(&expected)?.max(floor));
            let tolerance = amplified * rounding * scale + 20.0 * norm(&(expected - other)?)?;
            assert!(
                error <= tolerance,
                "{dtype:?} {name}: differs by {error:e} of {scale:e} with {shape:?}"
            );
        }
    }
    Ok(())
}

/// The smallest norm to which an error is relative.
const FLOOR: f64 = 1e-3;

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn lstm(shape in shapes()) {
        let config = LstmConfig { bias: shape.bias, ..LstmConfig::default() };
        compare(&config, &shape, 1.0).expect("runs");
    }

    #[test]
    fn lstm_with_options(
        shape in shapes(),
        peepholes in any::<bool>(),
        coupled in any::<bool>(),
        proj in 0usize..4,
    ) {
        let proj = (1..shape.hidden).contains(&proj).then_some(proj);
        let bias = shape.bias;
        let config = LstmConfig { bias, peepholes, coupled, proj, ..LstmConfig::default() };
        compare(&config, &shape, 1.0).expect("runs");
    }

    #[test]
    fn gru_reset_before(shape in shapes()) {
        let config = GruConfig { bias: shape.bias, reset: Reset::Before, ..GruConfig::default() };
        compare(&config, &shape, 1.0).expect("runs");
    }

    #[test]
    fn gru(shape in shapes()) {
        let config = GruConfig { bias: shape.bias, ..GruConfig::default() };
        compare(&config, &shape, 1.0).expect("runs");
    }

    #[test]
    fn layernorm_lstm(shape in shapes().prop_map(Shape::short), gain in 0.1..1.5) {
        let config = LayerNormLstmConfig { gain, ..LayerNormLstmConfig::default() };
        compare(&config, &shape, 50.0).expect("runs");
    }

    #[test]
    fn layernorm_gru(shape in shapes().prop_map(Shape::short), gain in 0.1..1.5) {
        let config = LayerNormGruConfig { gain, ..LayerNormGruConfig::default() };
        compare(&config, &shape, 50.0).expect("runs");
    }

    #[test]
    fn over_time(shape in shapes(), alpha in 0.05..0.5) {
        compare(&TemporalResidual::new(LstmConfig::default(), alpha), &shape, 1.0).expect("runs");
        let config = TemporalResidual::new(VanillaConfig::default(), alpha);
        compare(&config, &shape.short(), 1.0).expect("runs");
    }

    #[test]
    fn vanilla(shape in shapes(), relu in any::<bool>()) {
        let nonlinearity = if relu { Nonlinearity::Relu } else { Nonlinearity::Tanh };
        let config = VanillaConfig { bias: shape.bias, nonlinearity, ..VanillaConfig::default() };
        compare(&config, &shape, 1.0).expect("runs");
    }
}

/// With more steps than a block, saving everything, some or nothing gives the same values.
#[test]
fn many_blocks_of_steps() -> Result<()> {
    let (device, batch) = (&Device::Cpu, 3);
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F64, device);
    let layer = Rnn::new(2, 5, &LstmConfig::default(), vb)?.with_execution(Execution::Kernel);
    let wave: Vec<_> = (0..batch * 700 * 2).map(|i| (i as f64 * 0.7).sin()).collect();
    let xs = Sequence::padded(Tensor::from_vec(wave, (batch, 700, 2), device)?, &[700, 3, 431])?;
    let run = |layer: &Lstm| -> Result<(Vec<f64>, Vec<f64>)> {
        let (ys, _) = layer.run(&xs, None, &ForwardContext::default())?;
        let ys = ys.into_values();
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f64>();
        let gradient = match ys.track_op() {
            true => ys
                .sqr()?
                .sum_all()?
                .backward()?
                .get(&layer.cell().params()[1].1)
                .map(flat)
                .transpose()?,
            false => None,
        };
        Ok((flat(&ys)?, gradient.unwrap_or_default()))
    };
    let expected = run(&layer)?;
    let parts = run(&layer.clone().with_recompute(Recompute::Every(301))?)?;
    assert_eq!(parts.0, expected.0);
    for (found, expected) in parts.1.iter().zip(&expected.1) {
        assert!(
            (found - expected).abs() <= 1e-12 * expected.abs().max(1e-3),
            "{found} instead of {expected}"
        );
    }
    let params = layer.cell().params().into_iter().map(|(_, param)| param.detach()).collect();
    let untracked =
        Rnn::from_cell(layer.cell().with_params(params)?).with_execution(Execution::Kernel);
    assert_eq!(run(&untracked)?, (expected.0, Vec::new()));
    Ok(())
}
