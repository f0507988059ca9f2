//! The profile of a layer that does not record.

use super::cells::{layer, sequences, Elman};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use recurrent_core::{
    Direction, ForwardContext, GradientRecorder, GradientTrace, Layer, Record, Sequence, Stack,
};
use recurrent_lstm::LstmConfig;
use recurrent_measures::{Profile, Trajectory, Underflow};
use recurrent_testkit::{close, noise, Result, Tolerance};
use recurrent_vanilla::VanillaConfig;

/// The traces of a recorder under a loss that reads the last state's output through `weight`.
fn seen(layer: &dyn Layer, xs: &Sequence, weight: &Tensor) -> Result<Vec<GradientTrace>> {
    let recorder = GradientRecorder::new(Record::Gradients);
    let (last, _) = layer.last(xs, None, &ForwardContext::default().record(&recorder))?;
    (last * weight)?.sum_all()?.backward()?;
    Ok(recorder.take())
}

fn same(found: &GradientTrace, expected: &GradientTrace, tolerance: Tolerance) -> Result<()> {
    assert_eq!((found.field, &found.lengths), (expected.field, &expected.lengths));
    let both = [found, expected].map(|trace| trace.gradients.clone().expect("kept"));
    close("gradients", &both[0], &both[1], tolerance)?;
    for (found, expected) in
        [(&found.norms, &expected.norms), (&found.batch_norms, &expected.batch_norms)]
    {
        let tensor = |values: &Vec<f64>| Tensor::new(&values[..], &Device::Cpu);
        close("norms", &tensor(found)?, &tensor(expected)?, tolerance)?;
    }
    assert_eq!((&found.zeros, &found.subnormals), (&expected.zeros, &expected.subnormals));
    assert_eq!(found.elements, expected.elements);
    Ok(())
}

#[test]
fn the_chain_of_vjps_equals_the_recorded_gradients() -> Result<()> {
    let xs = sequences(3, 7, 2)?;
    let (elman, lstm) = (Elman::layer(2, 4, 1.0)?, layer(&LstmConfig::default(), 2, 4)?);
    let weight = noise("weight", &[3, 4])?;
    let zeros = weight.zeros_like()?;
    for (layer, last) in
        [(&elman as &dyn Layer, weight.clone()), (&lstm, Tensor::cat(&[&weight, &zeros], 1)?)]
    {
        let traces = Trajectory::new(layer, &xs, None)?.traces(&last)?;
        for (found, expected) in traces.iter().zip(seen(layer, &xs, &weight)?) {
            same(found, &expected, Tolerance::Norm(1e-13))?;
            assert_eq!(Profile::from_trace(found).steps, 7);
        }
        assert_eq!(traces.len(), Trajectory::new(layer, &xs, None)?.pieces().len());
    }
    Ok(())
}

#[test]
fn the_top_layer_of_a_stack_agrees_too() -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    let stack = Stack::new(2, 4, 2, Direction::Forward, &VanillaConfig::default(), vb)?;
    let (xs, weight) = (sequences(3, 7, 2)?, noise("weight", &[3, 4])?);
    let last = Tensor::cat(&[&weight.zeros_like()?, &weight], 1)?;
    let traces = Trajectory::new(&stack, &xs, None)?.traces(&last)?;
    let recorded = seen(&stack, &xs, &weight)?;
    same(&traces[1], &recorded[1], Tolerance::Norm(1e-13))?;
    assert_eq!(
        (traces[0].layer_id, traces[1].layer_id),
        (recorded[0].layer_id, recorded[1].layer_id)
    );
    // Below, the gradient begins one step earlier: with the last state of the top layer held fixed,
    // nothing reads the last state of the bottom layer.
    assert_eq!((traces[0].norms[0], recorded[0].norms[0] > 0.0), (0.0, true));
    Ok(())
}

#[test]
fn underflow_in_single_precision_equals_the_recorded_one() -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let layer = recurrent_core::Rnn::new(2, 4, &LstmConfig::default(), vb)?;
    let xs = Sequence::new(noise("xs", &[2, 150, 2])?.to_dtype(DType::F32)?)?;
    let weight = (noise("weight", &[2, 4])? * 1e-10)?.to_dtype(DType::F32)?;
    let last = Tensor::cat(&[&weight, &weight.zeros_like()?], 1)?;
    let traces = Trajectory::new(&layer, &xs, None)?.traces(&last)?;
    let recorded = seen(&layer, &xs, &weight)?;
    for (found, expected) in traces.iter().zip(&recorded) {
        let (found, expected) = [found, expected]
            .map(|trace| Underflow::from_profile(&Profile::from_trace(trace)))
            .into();
        assert!(found == expected && found.lags > 10, "{found:?}, expected {expected:?}");
    }
    Ok(())
}
