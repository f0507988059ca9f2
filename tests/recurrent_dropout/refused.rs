//! Impossible options are refused, with the expected value.

use super::masks::{Glass, Shows};
use super::NONE;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use recurrent::core::{linear, HiddenState, Params};
use recurrent::{
    Cell, Execution, ForwardContext, Gru, GruConfig, Layer, Lstm, LstmConfig, Recompute,
    RecurrentDropout, Rnn, Sequence, State,
};
use recurrent_testkit::close::expect_error;
use recurrent_testkit::Result;

fn lstm() -> candle_core::Result<Lstm> {
    Lstm::new(3, 5, &LstmConfig::default(), VarBuilder::zeros(DType::F64, &Device::Cpu))
}

#[test]
fn rates_out_of_range() -> Result<()> {
    for rate in [-0.1, 1.0, 1.5, f64::NAN, f64::INFINITY] {
        for (name, noise) in [
            ("input", RecurrentDropout { input: rate, ..NONE }),
            ("recurrent", RecurrentDropout { recurrent: rate, ..NONE }),
            ("zoneout_h", RecurrentDropout { zoneout_h: rate, ..NONE }),
            ("zoneout_c", RecurrentDropout { zoneout_c: rate, ..NONE }),
            ("weights", RecurrentDropout { weights: rate, ..NONE }),
        ] {
            let expected =
                format!("recurrent_dropout {name}: expected a rate in [0, 1), got {rate}");
            expect_error(name, lstm()?.with_recurrent_dropout(noise), &expected)?;
        }
    }
    lstm()?.with_recurrent_dropout(RecurrentDropout { input: 0.0, recurrent: 0.999, ..NONE })?;
    Ok(())
}

#[test]
fn a_field_that_the_state_does_not_have() -> Result<()> {
    let gru = Gru::new(3, 5, &GruConfig::default(), VarBuilder::zeros(DType::F64, &Device::Cpu))?;
    let expected =
        "recurrent_dropout zoneout_c: expected a cell whose state has the field c, got [\"h\"]";
    expect_error(
        "c",
        gru.clone().with_recurrent_dropout(RecurrentDropout::zoneout(0.1, 0.1)),
        expected,
    )?;
    gru.with_recurrent_dropout(RecurrentDropout::zoneout(0.1, 0.0))?;
    let own = Rnn::from_cell(Own { w: Tensor::zeros((2, 3), DType::F64, &Device::Cpu)? });
    let expected =
        "recurrent_dropout zoneout_h: expected a cell whose state has the field h, got [\"y\"]";
    expect_error("h", own.with_recurrent_dropout(RecurrentDropout::zoneout(0.1, 0.0)), expected)
}

#[test]
fn weights_that_the_cell_does_not_have() -> Result<()> {
    let weights = vec![("w_l0".to_string(), Tensor::zeros((5, 3), DType::F64, &Device::Cpu)?)];
    let glass = Rnn::from_cell(Glass { shows: Shows::Product, input: 3, size: 5, weights });
    let expected =
        "recurrent_dropout weights: expected a weight whose name begins with weight_hh, got [\"w_l0\"]";
    expect_error(
        "weights",
        glass.with_recurrent_dropout(RecurrentDropout { weights: 0.5, ..NONE }),
        expected,
    )
}

/// y' = tanh(W x) + y, a user's cell: it does not define the effect of recurrent dropout, and its
/// state has no h.
#[derive(Clone, Params)]
struct Own {
    w: Tensor,
}

#[derive(Clone)]
struct Sum(HiddenState);

impl State for Sum {
    const FIELDS: &'static [&'static str] = &["y"];

    fn fields(&self) -> Vec<Tensor> {
        self.0.fields()
    }

    fn from_fields(fields: Vec<Tensor>) -> candle_core::Result<Self> {
        Ok(Self(HiddenState::from_fields(fields)?))
    }
}

impl Cell for Own {
    type State = Sum;

    fn input_size(&self) -> usize {
        3
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![2]
    }

    fn step(&self, x: &Tensor, s: &Sum) -> candle_core::Result<Sum> {
        Ok(Sum(HiddenState { h: (linear(x, &self.w, None)?.tanh()? + &s.0.h)? }))
    }
}

#[test]
fn dropout_on_a_recurrence_that_the_cell_does_not_show() -> Result<()> {
    let cell = Own { w: Tensor::ones((2, 3), DType::F64, &Device::Cpu)? };
    let layer = Rnn::from_cell(cell)
        .with_recurrent_dropout(RecurrentDropout::variational(0.1, 0.2))?
        .with_execution(Execution::Replay);
    let xs = Sequence::new(Tensor::ones((4, 6, 3), DType::F64, &Device::Cpu)?)?;
    let expected =
        "recurrent_dropout recurrent: this cell does not implement `step_with_recurrent_input`";
    expect_error("training", layer.run(&xs, None, &ForwardContext::train(1, 1)), expected)?;
    layer.run(&xs, None, &ForwardContext::default())?; // no noise in evaluation
    Ok(())
}

#[test]
fn a_checkpoint_at_no_step() -> Result<()> {
    let expected = "recompute: expected the state at every 1 or more steps, got 0";
    expect_error("0 steps", lstm()?.with_recompute(Recompute::Every(0)), expected)
}
