//! Exact facts about the gradient of the state, about gates and about vector-Jacobian products in
//! closed form.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use recurrent::core::{HiddenState, Params};
use recurrent::layernorm::Placement;
use recurrent::{
    ActivationRecorder, Bptt, Carry, Cell, CellConfig, Execution, ForwardContext, Gate,
    GradientRecorder, GradientTrace, GruConfig, HiddenGradClip, Layer, LayerId, LayerNormGruConfig,
    LayerNormLstmConfig, LayerNormVanillaConfig, LstmConfig, Nonlinearity, Record,
    RecurrentDropout, Reset, Residual, ResidualLstmConfig, Rnn, Sequence, Stack, TemporalResidual,
    VanillaConfig,
};
use recurrent_testkit::close::{all_close, expect_error};
use recurrent_testkit::{close, noise, TensorMap, Tolerance};

const INPUT: usize = 3;
const HIDDEN: usize = 5;
const TIME: usize = 8;

/// A layer with random weights, and its variables.
fn layer<K: CellConfig>(config: &K, path: Execution, dtype: DType) -> Result<Rnn<K::Cell>> {
    let map = VarMap::new();
    let layer =
        Rnn::new(INPUT, HIDDEN, config, VarBuilder::from_varmap(&map, dtype, &Device::Cpu))?
            .with_execution(path);
    for (name, param) in layer.params() {
        Var::from_tensor(&param)?.set(&drawn(&name, param.dims(), dtype)?)?;
    }
    Ok(layer)
}

fn drawn(name: &str, dims: &[usize], dtype: DType) -> Result<Tensor> {
    (noise(name, dims).expect("values of any name") * 0.5)?.to_dtype(dtype)
}

fn ragged(dtype: DType) -> Result<Sequence> {
    Sequence::padded(drawn("xs", &[3, TIME, INPUT], dtype)?, &[5, TIME, 1])
}

/// The gradients of a layer's weights and the traces, for a loss of the outputs or of their end.
fn gradients(
    layer: &dyn Layer,
    xs: &Sequence,
    flow: Bptt,
    end: bool,
) -> Result<(TensorMap, Vec<GradientTrace>)> {
    let recorder = GradientRecorder::new(Record::Gradients);
    let context = ForwardContext::default().bptt(flow).record(&recorder);
    let ys = if end {
        layer.last(xs, None, &context)?.0
    } else {
        layer.run(xs, None, &context)?.0.into_values()
    };
    let grads = (&ys * drawn("loss", ys.dims(), ys.dtype())?)?.sum_all()?.backward()?;
    let gradient = |(name, param): (String, Tensor)| Some((name, grads.get(&param)?.clone()));
    Ok((layer.params().into_iter().filter_map(gradient).collect(), recorder.take()))
}

/// Runs a check on layers of several families, by replay and by kernel, in f32 and f64.
fn everywhere(check: impl Fn(&dyn Layer, &Sequence) -> Result<()>) -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        for path in [Execution::Replay, Execution::Kernel] {
            let xs = ragged(dtype)?;
            check(&layer(&VanillaConfig::default(), path, dtype)?, &xs)?;
            check(&layer(&LstmConfig::default(), path, dtype)?, &xs)?;
            check(&layer(&GruConfig::default(), path, dtype)?, &xs)?;
            check(&layer(&TemporalResidual::new(LstmConfig::default(), 0.3), path, dtype)?, &xs)?;
            check(
                &layer(&LstmConfig { proj: Some(2), ..LstmConfig::default() }, path, dtype)?,
                &xs,
            )?;
        }
    }
    Ok(())
}

#[test]
fn a_truncated_gradient_is_exactly_zero_beyond_its_window() -> Result<()> {
    everywhere(|layer, xs| {
        for (flow, border) in [(Bptt::last(3), [3, 3, 3]), (Bptt::truncated(3), [2, 2, usize::MAX])]
        // of 5, 8 and 1 steps
        {
            let (_, traces) = gradients(layer, xs, flow, true)?;
            for trace in traces {
                for (row, &len) in trace.lengths.iter().enumerate() {
                    let lags = (0..=len).map(|lag| trace.norms[lag * trace.batch + row]);
                    let reached: Vec<_> = lags.map(|norm| norm != 0.0).collect();
                    let first = usize::from(trace.field == "c"); // the loss reads h
                    let expected: Vec<_> =
                        (0..=len).map(|lag| lag >= first && lag < border[row]).collect();
                    assert_eq!(
                        reached, expected,
                        "{flow:?}, {}, example {row} of {len} steps",
                        trace.field
                    );
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_window_as_long_as_the_sequence_changes_no_bit() -> Result<()> {
    everywhere(|layer, xs| {
        let (expected, free) = gradients(layer, xs, Bptt::default(), false)?;
        for flow in [Bptt::truncated(TIME), Bptt::last(TIME + 1), Bptt::last(TIME)] {
            let (found, traces) = gradients(layer, xs, flow, false)?;
            all_close("gradient", &found, &expected, Tolerance::Bits).expect("the same bits");
            for (trace, free) in traces.iter().zip(&free) {
                // The number of lags; the last lag is that of the initial carry.
                let all = if flow == Bptt::last(TIME) { TIME } else { TIME + 1 };
                let bits = |trace: &GradientTrace| -> Vec<_> {
                    trace.norms[..all * trace.batch].iter().map(|norm| norm.to_bits()).collect()
                };
                assert_eq!(bits(trace), bits(free), "{flow:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_bound_that_is_never_reached_changes_no_bit() -> Result<()> {
    everywhere(|layer, xs| {
        let (expected, free) = gradients(layer, xs, Bptt::default(), false)?;
        for clip in [
            HiddenGradClip::Value(1e6),
            HiddenGradClip::Norm(1e6),
            HiddenGradClip::Norm(f64::INFINITY),
        ] {
            let (found, traces) = gradients(layer, xs, Bptt::clipped(clip), false)?;
            all_close("gradient", &found, &expected, Tolerance::Bits).expect("the same bits");
            for (trace, free) in traces.iter().zip(&free) {
                let (found, expected) = (trace.gradients.as_ref(), free.gradients.as_ref());
                let (found, expected) = (found.expect("kept"), expected.expect("kept"));
                close(trace.field, found, expected, Tolerance::Bits).expect("the same bits");
            }
        }
        Ok(())
    })
}

/// Gradients whose squares overflow or underflow are clipped like others.
#[test]
fn a_bound_holds_over_the_range_of_the_dtype() -> Result<()> {
    let cases = [
        (DType::F64, Execution::Kernel, 1e200, 1e-13),
        (DType::F64, Execution::Replay, 1e200, 1e-13),
        (DType::F32, Execution::Kernel, 1e30, 1e-6),
        (DType::F32, Execution::Replay, 1e30, 1e-6),
        (DType::F16, Execution::Replay, 1e4, 3e-3),
    ];
    for (dtype, path, scale, tolerance) in cases {
        let layer = layer(&LstmConfig::default(), path, dtype)?;
        let recorder = GradientRecorder::new(Record::Norms);
        let context = ForwardContext::default()
            .record(&recorder)
            .bptt(Bptt::clipped(HiddenGradClip::Norm(0.25)));
        let (last, _) = layer.last(&ragged(dtype)?, None, &context)?;
        (last * scale)?.sum_all()?.backward()?;
        for norm in recorder.take()[0].norms_at(0) {
            assert!((norm / 0.25 - 1.0).abs() < tolerance, "{dtype:?} by {path:?}: {norm}");
        }
        let context = ForwardContext::default()
            .record(&recorder)
            .bptt(Bptt::clipped(HiddenGradClip::Norm(2.0 / scale)));
        let (last, _) = layer.last(&ragged(dtype)?, None, &context)?;
        (last * scale.recip())?.sum_all()?.backward()?; // the norm of h's gradient is √5 / scale
        for norm in recorder.take()[0].norms_at(0) {
            let error = (norm * scale / 2.0 - 1.0).abs();
            assert!(error < tolerance.max(1e-3), "{dtype:?} by {path:?}: {norm:e}");
        }
    }
    Ok(())
}

#[test]
fn an_empty_truncation_is_refused() -> Result<()> {
    let layer = layer(&LstmConfig::default(), Execution::Auto, DType::F64)?;
    for (flow, expected) in [
        (Bptt::last(0), "bptt truncation: expected at least 1 step, got 0"),
        (Bptt::truncated(0), "bptt truncation: expected at least 1 step, got 0"),
        (Bptt::clipped(HiddenGradClip::Value(0.0)), "bptt clip: expected a positive bound, got 0"),
        (
            Bptt::clipped(HiddenGradClip::Norm(f64::NAN)),
            "bptt clip: expected a positive bound, got NaN",
        ),
    ] {
        let run = layer.run(&ragged(DType::F64)?, None, &ForwardContext::default().bptt(flow));
        expect_error("flow", run, expected).expect("refused");
    }
    Ok(())
}

/// A residual over depth gives the gradient a path around the layer, not through time: with equal
/// inputs, weights and gradients of the outputs, every dL/dh_t and dL/dc_t and the vjp of a step
/// have the same bits.
#[test]
fn a_residual_over_depth_leaves_the_path_through_time_unchanged() -> Result<()> {
    for path in [Execution::Replay, Execution::Kernel] {
        let plain = layer(&LstmConfig::default(), path, DType::F64)?;
        let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F64, &Device::Cpu);
        let around = Residual::new(plain.clone(), LayerId::default(), vb)?;
        for end in [true, false] {
            let xs = ragged(DType::F64)?;
            let (_, expected) = gradients(&plain, &xs, Bptt::default(), end)?;
            let (_, found) = gradients(&around, &xs, Bptt::default(), end)?;
            for (found, expected) in found.iter().zip(&expected) {
                let (found, expected) = (found.gradients.as_ref(), expected.gradients.as_ref());
                let (found, expected) = (found.expect("kept"), expected.expect("kept"));
                close("recorded", found, expected, Tolerance::Bits).expect("the same bits");
            }
        }
        let (x, carry, grad) = one_step(&["h", "c"])?;
        let expected = plain.vjp(&x, &carry, &grad)?.expect("it is offered");
        let found = around.vjp(&x, &carry, &grad)?.expect("it is offered");
        for field in ["h", "c"] {
            close(field, found.field(field)?, expected.field(field)?, Tolerance::Bits)
                .expect("the same bits");
        }
    }
    Ok(())
}

/// An input, a state and a gradient for one step; the first two are variables.
fn one_step(fields: &[&'static str]) -> Result<(Tensor, Carry, Carry)> {
    let variable = |name: &str, size| -> Result<Tensor> {
        Ok(Var::from_tensor(&drawn(name, &[2, size], DType::F64)?)?.into_inner())
    };
    let carry =
        fields.iter().map(|name| Ok((*name, variable(name, HIDDEN)?))).collect::<Result<_>>()?;
    let grad = fields
        .iter()
        .map(|name| Ok((*name, drawn(&format!("d{name}"), &[2, HIDDEN], DType::F64)?)));
    Ok((variable("x", INPUT)?, Carry::Cell(carry), Carry::Cell(grad.collect::<Result<_>>()?)))
}

/// Σ v ∘ W_hhᵀ(dh' ∘ φ'), with states and slopes held fixed, has the gradient (dh' ∘ φ')ᵀ v with
/// respect to W_hh, and no other gradient.
#[test]
fn the_immediate_derivative_of_a_vanilla_step() -> Result<()> {
    for nonlinearity in [Nonlinearity::Tanh, Nonlinearity::Relu] {
        let config = VanillaConfig { nonlinearity, ..VanillaConfig::default() };
        let layer = layer(&config, Execution::Auto, DType::F64)?;
        let (x, carry, grad) = one_step(&["h"])?;
        let v = drawn("v", &[2, HIDDEN], DType::F64)?;
        let back = layer.vjp(&x, &carry, &grad)?.expect("it is offered");
        let grads = (back.field("h")? * &v)?.sum_all()?.backward()?;

        let params: Vec<_> = layer.params().into_iter().map(|(_, param)| param.detach()).collect();
        let [w_ih, w_hh, b_ih, b_hh] = &params[..] else { panic!("four weights") };
        let a =
            (x.detach().matmul(&w_ih.t()?)? + carry.field("h")?.detach().matmul(&w_hh.t()?)?)?;
        let a: Vec<Vec<f64>> = a.broadcast_add(b_ih)?.broadcast_add(b_hh)?.to_vec2()?;
        let slope = |a: &f64| match nonlinearity {
            Nonlinearity::Tanh => a.cosh().powi(-2),
            Nonlinearity::Relu => f64::from(u8::from(*a > 0.0)),
        };
        let (dh, v) = (grad.field("h")?.to_vec2::<f64>()?, v.to_vec2::<f64>()?);
        let expected: Vec<f64> = (0..HIDDEN)
            .flat_map(|i| (0..HIDDEN).map(move |j| (i, j)))
            .map(|(i, j)| (0..2).map(|b| dh[b][i] * slope(&a[b][i]) * v[b][j]).sum())
            .collect();
        let expected = Tensor::from_vec(expected, (HIDDEN, HIDDEN), &Device::Cpu)?;
        let found = grads.get(&layer.params()[1].1).expect("W_hh has a gradient");
        close("dΩ/dW_hh", found, &expected, Tolerance::Norm(1e-14)).expect("the same");
        for leaf in [
            &x,
            carry.field("h")?,
            &layer.params()[0].1,
            &layer.params()[2].1,
            &layer.params()[3].1,
        ] {
            assert!(grads.get(leaf).is_none());
        }
    }
    Ok(())
}

/// The weights on which a cell's vjp depends, or `None` if it has no closed form.
fn depends<K: CellConfig>(config: &K) -> Result<Option<Vec<String>>> {
    let layer = layer(config, Execution::Auto, DType::F64)?;
    let sizes = layer.cell().state_sizes();
    let names = &["h", "c"][..sizes.len()];
    let (x, carry, grad) = one_step(names)?;
    let fit = |carry: Carry| -> Result<Carry> {
        let field = |(name, size): (&&'static str, &usize)| {
            Ok((*name, carry.field(name)?.narrow(1, 0, *size)?))
        };
        Ok(Carry::Cell(names.iter().zip(&sizes).map(field).collect::<Result<_>>()?))
    };
    let Some(back) = layer.vjp(&x, &fit(carry)?, &fit(grad)?)? else { return Ok(None) };
    let mut sum = Tensor::zeros((), DType::F64, &Device::Cpu)?;
    for name in names {
        sum = (sum + back.field(name)?.sum_all()?)?;
    }
    let grads = sum.backward()?;
    let reached = layer.params().into_iter().filter(|(_, param)| grads.get(param).is_some());
    Ok(Some(reached.map(|(name, _)| name.trim_end_matches("_l0").to_string()).collect()))
}

#[test]
fn closed_forms_depend_on_the_recurrent_weights_alone() -> Result<()> {
    let hh = || Some(vec!["weight_hh".to_string()]);
    assert_eq!(depends(&VanillaConfig::default())?, hh());
    assert_eq!(depends(&LstmConfig::default())?, hh());
    assert_eq!(depends(&LstmConfig { coupled: true, ..LstmConfig::default() })?, hh());
    assert_eq!(depends(&GruConfig::default())?, hh());
    assert_eq!(depends(&GruConfig { reset: Reset::Before, ..GruConfig::default() })?, hh());
    assert_eq!(depends(&TemporalResidual::new(GruConfig::default(), 0.3))?, hh());
    let kim = ["weight_hh", "weight_projection"].map(String::from).to_vec();
    assert_eq!(depends(&ResidualLstmConfig::default())?, Some(kim));
    let all = LstmConfig { peepholes: true, proj: Some(2), ..LstmConfig::default() };
    let names = ["weight_hh", "weight_hr", "weight_ci", "weight_cf", "weight_co"].map(String::from);
    assert_eq!(depends(&all)?, Some(names.to_vec()));
    let names = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
    let lstm = names(&["weight_hh", "gain_hh", "gain_c"]);
    assert_eq!(depends(&LayerNormLstmConfig::default())?, lstm);
    assert_eq!(depends(&LayerNormGruConfig::default())?, names(&["weight_hh", "gain_hh"]));
    assert_eq!(depends(&LayerNormVanillaConfig::default())?, names(&["weight_hh", "gain"]));
    assert_eq!(depends(&TemporalResidual::new(LayerNormLstmConfig::default(), 0.3))?, lstm);
    Ok(())
}

#[test]
fn a_closed_form_reports_a_mismatch() -> Result<()> {
    let lstm = layer(&LstmConfig::default(), Execution::Auto, DType::F64)?;
    let (x, carry, grad) = one_step(&["h", "c"])?;
    let (_, hidden, _) = one_step(&["h"])?;
    let wide = drawn("x", &[2, INPUT + 1], DType::F64)?;
    for (result, expected) in [
        (lstm.vjp(&wide, &carry, &grad), "vjp x: expected (batch, 3), got [2, 4]"),
        (lstm.vjp(&x, &hidden, &grad), "carry: expected the fields [\"h\", \"c\"], got [\"h\"]"),
        (lstm.vjp(&x, &carry, &hidden), "grad: expected the fields [\"h\", \"c\"], got [\"h\"]"),
        (
            lstm.vjp(&x, &carry, &Carry::Layers(vec![])),
            "grad: expected one layer's fields, got 0 layers",
        ),
    ] {
        expect_error("pull back", result, expected).expect("refused");
    }
    let two = Stack::from_layers(vec![
        Box::new(layer(&VanillaConfig::default(), Execution::Auto, DType::F64)?),
        Box::new(Rnn::new(
            HIDDEN,
            HIDDEN,
            &VanillaConfig::default(),
            VarBuilder::zeros(DType::F64, &Device::Cpu),
        )?),
    ])?;
    let parts = Carry::Layers(vec![hidden.clone(), hidden]);
    assert!(two.vjp(&x, &parts, &parts)?.is_none(), "two layers have no single step");
    Ok(())
}

/// In a cell whose only non-zero weights are these biases, each gate is σ of the sum of its two
/// biases, at any input. Returns the gates by name, with `keeps`.
fn of_biases<K: CellConfig>(
    config: &K,
    gates: &[&'static str],
) -> Result<Vec<(&'static str, bool)>> {
    let layer = layer(config, Execution::Auto, DType::F64)?;
    let biases = ["bias_ih_l0", "bias_hh_l0"];
    for (_, param) in layer.params().iter().filter(|(name, _)| !biases.contains(&name.as_str())) {
        Var::from_tensor(param)?.set(&param.zeros_like()?)?;
    }
    let bias = |name: &str| {
        let params = layer.params();
        params.into_iter().find(|(found, _)| found == name).expect("a bias").1.to_vec1::<f64>()
    };
    let [ih, hh] = [bias(biases[0])?, bias(biases[1])?];
    let activations = ActivationRecorder::default();
    layer.run(&ragged(DType::F64)?, None, &ForwardContext::default().activations(&activations))?;
    let [seen] = &activations.take()[..] else { panic!("one layer") };
    for Gate { name, values, .. } in &seen.gates {
        let row = gates.iter().position(|gate| gate == name).expect("a gate of the cell") * HIDDEN;
        let expected: Vec<_> =
            (row..row + HIDDEN).map(|at| 1.0 / (1.0 + (-ih[at] - hh[at]).exp())).collect();
        for found in values.to_vec3::<f64>()?.concat() {
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() < 1e-15,
                    "gate {name}: {found} instead of {expected}"
                );
            }
        }
    }
    Ok(seen.gates.iter().map(|gate| (gate.name, gate.keeps)).collect())
}

#[test]
fn the_gates_of_every_cell() -> Result<()> {
    let (lstm, gru) = (["i", "f", "g", "o"], ["r", "z", "n"]);
    let kept_by_f = [("i", false), ("f", true), ("o", false)];
    let kept_by_z = [("r", false), ("z", true)];
    assert_eq!(of_biases(&LstmConfig::default(), &lstm)?, kept_by_f);
    assert_eq!(of_biases(&LayerNormLstmConfig::default(), &lstm)?, kept_by_f);
    assert_eq!(of_biases(&ResidualLstmConfig::default(), &lstm)?, kept_by_f);
    assert_eq!(of_biases(&TemporalResidual::new(LstmConfig::default(), 0.3), &lstm)?, kept_by_f);
    assert_eq!(of_biases(&GruConfig::default(), &gru)?, kept_by_z);
    assert_eq!(
        of_biases(&GruConfig { reset: Reset::Before, ..GruConfig::default() }, &gru)?,
        kept_by_z
    );
    assert_eq!(of_biases(&LayerNormGruConfig::default(), &gru)?, kept_by_z);
    // This gate is not the share of the old state that is kept.
    let none = |gates: [(&'static str, bool); 3]| gates.map(|(name, _)| (name, false));
    for placement in [Placement::PyTorchScript, Placement::TfAddons, Placement::Burn] {
        let config = LayerNormLstmConfig { placement, ..LayerNormLstmConfig::default() };
        assert_eq!(of_biases(&config, &lstm)?, none(kept_by_f), "{placement:?}");
    }
    let over_time = TemporalResidual::new(GruConfig::default(), 0.3);
    assert_eq!(of_biases(&over_time, &gru)?, kept_by_z.map(|(name, _)| (name, false)));
    assert_eq!(of_biases(&VanillaConfig::default(), &["h"])?, []);
    assert_eq!(of_biases(&LayerNormVanillaConfig::default(), &["h"])?, []);
    Ok(())
}

#[test]
fn a_coupled_input_gate_is_one_minus_the_forget_gate() -> Result<()> {
    let layer =
        layer(&LstmConfig { coupled: true, ..LstmConfig::default() }, Execution::Auto, DType::F64)?;
    let activations = ActivationRecorder::default();
    layer.run(&ragged(DType::F64)?, None, &ForwardContext::default().activations(&activations))?;
    let seen = activations.take().remove(0);
    let [i, f] =
        ["i", "f"].map(|name| seen.gates.iter().find(|gate| gate.name == name).expect("a gate"));
    close("i", &i.values, &f.values.affine(-1.0, 1.0)?, Tolerance::Bits).expect("the same bits");
    Ok(())
}

/// y' = 0.9 s + x with the gate σ(y), where s is the recurrent input: the gate shows s.
#[derive(Clone, Params)]
struct Open {
    w: Tensor,
}

impl Cell for Open {
    type State = HiddenState;

    fn input_size(&self) -> usize {
        INPUT
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![INPUT]
    }

    fn step(&self, x: &Tensor, s: &HiddenState) -> Result<HiddenState> {
        self.step_with_recurrent_input(x, &s.h, s)
    }

    fn step_with_recurrent_input(
        &self,
        x: &Tensor,
        seen: &Tensor,
        _: &HiddenState,
    ) -> Result<HiddenState> {
        Ok(HiddenState { h: ((seen * 0.9)? + x)? })
    }

    fn gates(&self, _: &Tensor, s: &HiddenState) -> Result<Vec<Gate>> {
        Ok(vec![Gate { name: "g", values: candle_nn::ops::sigmoid(&s.h)?, keeps: false }])
    }
}

/// With recurrent dropout, the recorded gates are those of the masked recurrent input, and with
/// every kind of noise the recorded states are the outputs.
#[test]
fn noise_is_observed() -> Result<()> {
    let w = Tensor::zeros(1, DType::F64, &Device::Cpu)?;
    let open = Rnn::from_cell(Open { w })
        .with_recurrent_dropout(RecurrentDropout::variational(0.0, 0.5))?
        .with_execution(Execution::Replay);
    let xs = Sequence::new(drawn("xs", &[3, TIME, INPUT], DType::F64)?)?;
    let activations = ActivationRecorder::default();
    open.run(&xs, None, &ForwardContext::train(1, 1).activations(&activations))?;
    let seen = activations.take().remove(0);
    let after = seen.states[0].1.narrow(1, 1, TIME)?;
    let sees = ((after - xs.values())? / 0.9)?;
    let gate = &seen.gates[0].values;
    close("gate", gate, &candle_nn::ops::sigmoid(&sees)?, Tolerance::Max(1e-14))
        .expect("of the recorded activations");
    let before = candle_nn::ops::sigmoid(&seen.states[0].1.narrow(1, 0, TIME)?)?;
    assert!(close("gate", gate, &before, Tolerance::Max(1e-3)).is_err(), "nothing was dropped");

    let noise = RecurrentDropout {
        input: 0.2,
        recurrent: 0.3,
        zoneout_h: 0.3,
        zoneout_c: 0.4,
        weights: 0.2,
    };
    for path in [Execution::Replay, Execution::Kernel] {
        let lstm =
            layer(&LstmConfig::default(), path, DType::F64)?.with_recurrent_dropout(noise)?;
        for context in [ForwardContext::train(1, 1), ForwardContext::default()] {
            let (ys, _) = lstm.run(&xs, None, &context.activations(&activations))?;
            let seen = activations.take().remove(0);
            let found = seen.states[0].1.narrow(1, 1, TIME)?;
            close("states", &found, ys.values(), Tolerance::Norm(1e-12)).expect("the outputs");
        }
    }
    Ok(())
}
