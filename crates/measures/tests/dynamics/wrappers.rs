//! Wrappers around layers.

use super::cells::{differences, layer, near, sequences};
use candle_core::{DType, Device};
use candle_nn::{VarBuilder, VarMap};
use recurrent_core::{Direction, ForwardContext, Layer, LayerId, Rnn, Sequence, Stack};
use recurrent_gru::GruConfig;
use recurrent_lstm::LstmConfig;
use recurrent_measures::{
    lyapunov, memory_capacity, omega, temporal_jacobian, CapacityConfig, Trajectory,
};
use recurrent_residual::{Residual, TemporalResidual};
use recurrent_testkit::{close, noise, Result, Tolerance};
use recurrent_vanilla::VanillaConfig;

#[test]
fn the_jacobian_of_a_stack_has_those_of_its_layers_on_the_diagonal() -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let stack = Stack::new(2, 3, 2, Direction::Forward, &GruConfig::default(), vb)?;
    let xs = sequences(2, 5, 2)?;
    let trajectory = Trajectory::new(&stack, &xs, None)?;
    let found = trajectory.jacobian(3, 1)?;
    let (between, _) = stack.layers()[0].run(&xs, None, &ForwardContext::default())?;
    let below = Trajectory::new(&stack.layers()[0], &xs, None)?.jacobian(3, 1)?;
    let above = Trajectory::new(&stack.layers()[1], &between, None)?.jacobian(3, 1)?;
    let block = |i: usize, j: usize| found.narrow(0, 3 * i, 3)?.narrow(1, 3 * j, 3)?.contiguous();
    close("below", &block(0, 0)?, &below, Tolerance::Norm(1e-13))?;
    close("above", &block(1, 1)?, &above, Tolerance::Norm(1e-13))?;
    close("down", &block(0, 1)?, &below.zeros_like()?, Tolerance::Norm(0.0))?;
    let state = trajectory.states()[3].map(&mut |field| field.narrow(0, 1, 1)?.contiguous())?;
    let x = xs.values().narrow(0, 1, 1)?.narrow(1, 3, 1)?;
    near("stack", &found.to_vec2::<f64>()?, &differences(&stack, &x, &state)?, 1e-9);
    assert!(lyapunov(&trajectory, 6, 1)?.largest() < 0.0);
    Ok(())
}

#[test]
fn a_residual_over_depth_keeps_the_bits_of_the_jacobians() -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let inner = Rnn::new(3, 3, &LstmConfig::default(), vb.clone())?;
    let xs = sequences(2, 6, 3)?;
    let plain = Trajectory::new(&inner, &xs, None)?;
    let outer = Residual::new(inner.clone(), LayerId::default(), vb)?;
    let around = Trajectory::new(&outer, &xs, None)?;
    for t in 0..6 {
        close("jacobian", &around.jacobian(t, 1)?, &plain.jacobian(t, 1)?, Tolerance::Bits)?;
    }
    assert_eq!(temporal_jacobian(&around, 6, &[2, 6])?, temporal_jacobian(&plain, 6, &[2, 6])?);
    let last = noise("last", &[2, 6])?;
    let both = [&around, &plain].map(|trajectory| omega(trajectory, &trajectory.gradients(&last)?));
    let [a, b] = both.map(|found| found.expect("both are layers"));
    assert_eq!(a, b);
    Ok(())
}

#[test]
fn a_residual_over_time_adds_to_the_identity() -> Result<()> {
    let alpha = 0.25;
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let inner = Rnn::new(2, 4, &VanillaConfig::default(), vb.clone())?;
    let outer = Rnn::new(2, 4, &TemporalResidual::new(VanillaConfig::default(), alpha), vb)?;
    let xs = sequences(2, 5, 2)?;
    let trajectory = Trajectory::new(&outer, &xs, None)?;
    let one = Sequence::new(xs.values().narrow(1, 4, 1)?.contiguous()?)?;
    let inside = Trajectory::new(&inner, &one, Some(&trajectory.states()[4]))?.jacobian(0, 1)?;
    let identity = candle_core::Tensor::eye(4, DType::F64, &Device::Cpu)?;
    let expected = (identity + (inside * alpha)?)?;
    close("I + α J", &trajectory.jacobian(4, 1)?, &expected, Tolerance::Norm(1e-13))?;
    Ok(())
}

#[test]
fn a_residual_over_depth_does_not_hide_the_input_of_the_step() -> Result<()> {
    let settings = CapacityConfig {
        delays: 20,
        washout: 50,
        fit: 500,
        test: 500,
        ..CapacityConfig::default()
    };
    let inner = layer(&VanillaConfig::default(), 6, 6)?;
    let vb = VarBuilder::zeros(DType::F64, &Device::Cpu);
    let outer = Residual::new(inner, LayerId::default(), vb)?;
    assert!(memory_capacity(&outer, &settings)?.curve[0] > 0.99);
    Ok(())
}
