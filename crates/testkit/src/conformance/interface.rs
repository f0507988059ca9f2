//! Shapes, names, counts, errors, and weights on disk.

use crate::case::Ends;
use crate::close::{all_close, expect_error};
use crate::named::weights;
use crate::{close, noise, Case, Dims, Evaluation, LossInputs, Result, Tolerance};
use anyhow::{bail, ensure};
use candle_core::{safetensors, DType, Device, Module, Tensor, D};
use candle_nn::VarBuilder;
use recurrent_core::{Carry, ForwardContext, Layer, Sequence};
use std::collections::BTreeSet;

/// Outputs, carries and `last` have the documented shapes, and `last` is the end of the outputs.
pub(super) fn shapes(case: &Case) -> Result<()> {
    let evaluation = Evaluation::new(case);
    for implementation in evaluation.implementations()? {
        for (batch, time, lengths) in [
            (4, 7, Some(vec![5, 1, 6, 3])),
            (4, 7, Some(vec![2, 7, 4, 7])),
            (4, 7, None),
            (2, 1, Some(vec![1, 1])),
            (1, 3, None),
            (1, 1, None),
        ] {
            let size = Dims { batch, time, ..evaluation.size };
            let evaluation = Evaluation { implementation, size, lengths, ..evaluation.clone() };
            let leaves = evaluation.leaves()?;
            let layer = evaluation.layer(&leaves)?;
            let (input, output, what) =
                (layer.input_size(), layer.output_size(), evaluation.name());
            ensure!(input == size.input, "{what}: input_size() is {input}");
            let values = evaluation.forward(layer.as_ref(), &leaves, None)?;
            let dims = values["ys"].dims();
            ensure!(
                dims == [batch, time, output],
                "{what}: outputs {dims:?}, output_size() is {output}"
            );
            let (ys, end) =
                layer.run(&evaluation.sequence(&leaves)?, None, &ForwardContext::default())?;
            ensure!(
                ys.lengths().map(|l| l.as_slice()) == evaluation.lengths.as_deref(),
                "{what}: the lengths are lost"
            );
            for (name, field) in end.named() {
                let dims = field.dims();
                ensure!(dims.len() == 2 && dims[0] == batch, "{what}: carry {name} {dims:?}");
            }
            let evaluation = Evaluation { loss_inputs: LossInputs::Last, ..evaluation };
            let mut last = evaluation.forward(layer.as_ref(), &leaves, None)?;
            let found = last.remove("last").expect("it was asked for");
            // Not the same bits: a projection may be multiplied in another order.
            let tolerance = Tolerance::Norm(1e-13);
            close(
                &format!("{what}, last"),
                &found,
                &ends(case, &evaluation, &values["ys"])?,
                tolerance,
            )?;
            let mut run = values.clone();
            run.remove("ys");
            all_close(&format!("{what}, the carry of last"), &last, &run, Tolerance::Bits)?;
            if evaluation.lengths.is_none() {
                let ys = layer
                    .run(&evaluation.sequence(&leaves)?, None, &ForwardContext::default())?
                    .0
                    .into_values();
                close(
                    &format!("{what}, forward"),
                    &layer.forward(&leaves["xs"])?,
                    &ys,
                    Tolerance::Bits,
                )?;
            }
        }
    }
    Ok(())
}

/// The end of the outputs `ys`, `(batch, output)`.
fn ends(case: &Case, evaluation: &Evaluation, ys: &Tensor) -> Result<Tensor> {
    let (_, time, output) = ys.dims3()?;
    let row = |row: usize| {
        let len = evaluation.lengths.as_ref().map_or(time, |lengths| lengths[row]);
        let at = |position| ys.narrow(0, row, 1)?.narrow(1, position, 1)?.squeeze(1);
        match case.ends {
            Ends::Last => at(len - 1),
            Ends::Both => {
                let half = output / 2;
                let (ahead, back) =
                    (at(len - 1)?.narrow(1, 0, half)?, at(0)?.narrow(1, half, half)?);
                Tensor::cat(&[ahead, back], D::Minus1)
            }
        }
    };
    Ok(Tensor::cat(
        &(0..evaluation.size.batch).map(row).collect::<candle_core::Result<Vec<_>>>()?,
        0,
    )?)
}

/// Non-contiguous inputs, weights and carries give the same values, for a cell the same bits.
pub(super) fn views(case: &Case) -> Result<()> {
    let evaluation = Evaluation::new(case).ragged();
    for implementation in evaluation.implementations()? {
        let evaluation = Evaluation { implementation, ..evaluation.clone() };
        let leaves = evaluation.leaves()?;
        let view = |value: &Tensor| match value.rank() {
            0 => Ok(value.clone()),
            1 => Tensor::stack(&[value, value], 1)?.narrow(1, 0, 1)?.squeeze(1),
            _ => value.transpose(0, 1)?.contiguous()?.transpose(0, 1),
        };
        let views = leaves
            .iter()
            .map(|(name, value)| Ok((name.clone(), view(value)?)))
            .collect::<Result<_>>()?;
        ensure!(!evaluation.sequence(&views)?.values().is_contiguous(), "the views are contiguous");
        // Not through `run`: a variable is always contiguous.
        let found = evaluation.graph(&views, |_| false)?.values;
        // candle sums the wrapper's own products in another order then.
        let tolerance = if case.is_cell() { Tolerance::Bits } else { Tolerance::Norm(1e-14) };
        all_close(
            &evaluation.name(),
            &found,
            &evaluation.graph(&leaves, |_| false)?.values,
            tolerance,
        )?;
    }
    Ok(())
}

/// The number of weights is the documented one, and `params` lists every variable of the variable
/// map once.
pub(super) fn count(case: &Case) -> Result<()> {
    let evaluation = Evaluation::new(case);
    let small = evaluation.size;
    for (input, hidden) in [(small.input, small.hidden), (if case.square { 8 } else { 6 }, 8)] {
        let evaluation = Evaluation { size: Dims { input, hidden, ..small }, ..evaluation.clone() };
        let (vars, layer) = evaluation.fresh()?;
        let params = layer.params();
        let names: BTreeSet<_> = params.iter().map(|(name, _)| name.clone()).collect();
        ensure!(names.len() == params.len(), "params() repeats a name: {names:?}");
        let made: BTreeSet<_> =
            vars.data().lock().expect("no test panics with it").keys().cloned().collect();
        ensure!(names == made, "params() names {names:?}, the variable map {made:?}");
        ensure!(
            params.iter().all(|(_, param)| param.is_variable()),
            "a weight is not the variable map's own"
        );
        let found: usize = params.iter().map(|(_, param)| param.elem_count()).sum();
        let documented = (case.documented)(input, hidden);
        let at = format!("at input {input}, hidden {hidden}");
        ensure!(found == documented, "{at}: {found} weights, documented are {documented}");
        if let Some(counted) = case.counted.as_ref().map(|count| count(input, hidden)) {
            ensure!(
                counted == documented,
                "{at}: param_count is {counted}, documented are {documented}"
            );
        }
    }
    Ok(())
}

/// Wrong arguments are refused, with the argument's name, the expected and the actual value.
pub(super) fn errors(case: &Case) -> Result<()> {
    let evaluation = Evaluation::new(case);
    for implementation in evaluation.implementations()? {
        let evaluation = Evaluation { implementation, ..evaluation.clone() };
        let leaves = evaluation.leaves()?;
        let layer = evaluation.layer(&leaves)?;
        let Dims { batch, time, input, .. } = evaluation.size;
        let refuses = |what: &str, xs: &Tensor, carry: Option<&Carry>, expected: &str| {
            let xs = Sequence::new(xs.clone())?;
            expect_error(what, layer.run(&xs, carry, &ForwardContext::default()), expected)?;
            let last = layer.last(&xs, carry, &ForwardContext::default());
            expect_error(&format!("{what}, last"), last, expected)
        };
        let xs = leaves["xs"].clone();
        let dims = [batch, time, input + 1];
        let expected = format!("recurrent xs: expected (batch, time, {input}), got {dims:?}");
        refuses("another input size", &noise("xs", &dims)?, None, &expected)?;
        let expected = "recurrent xs: expected the dtype of the weights, F64, got F32";
        refuses("another dtype", &xs.to_dtype(DType::F32)?, None, expected)?;
        let expected = "recurrent xs: expected a float dtype, got U32";
        refuses("integers", &Tensor::zeros(xs.dims(), DType::U32, &Device::Cpu)?, None, expected)?;
        let expected = format!(
            "sequence: expected (batch, time, feature), none of them 0, got {:?}",
            [time, input]
        );
        expect_error("one example", layer.forward(&noise("xs", &[time, input])?), &expected)?;
        for (lengths, expected) in [
            (
                vec![1; batch + 1],
                format!("sequence lengths: expected {batch}, one an example, got {}", batch + 1),
            ),
            (vec![0; batch], format!("sequence lengths: expected each from 1 to {time}, got 0")),
            (
                vec![time + 1; batch],
                format!("sequence lengths: expected each from 1 to {time}, got {}", time + 1),
            ),
        ] {
            expect_error("wrong lengths", Sequence::padded(xs.clone(), &lengths), &expected)?;
        }
        let carry = evaluation.carry(&leaves)?.expect("the leaves have one");
        refused_carries(&carry, batch, &|what, carry, expected| {
            refuses(what, &xs, Some(carry), expected)
        })?;
        if layer.reversed_size() > 0 {
            let (_, end) = layer.run(&Sequence::new(xs.clone())?, None, &Default::default())?;
            let expected = "carry: expected the state before the sequence";
            refuses("the end of a reverse run", &xs, Some(&end), expected)?;
            layer.run(&Sequence::new(xs)?, Some(&end.into_initial()), &Default::default())?;
        }
    }
    Ok(())
}

fn refused_carries(
    carry: &Carry,
    batch: usize,
    refuses: &dyn Fn(&str, &Carry, &str) -> Result<()>,
) -> Result<()> {
    match carry {
        Carry::Layers(parts) => {
            let count = parts.len();
            let expected = format!("carry: expected {count} layers, got {}", count - 1);
            refuses("a part less", &Carry::Layers(parts[1..].to_vec()), &expected)?;
            let expected = format!("carry: expected {count} layers, got one layer's fields");
            refuses("fields for parts", &Carry::Cell(Vec::new()), &expected)?;
        }
        Carry::Cell(fields) => {
            let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
            refuses(
                "parts for fields",
                &Carry::Layers(Vec::new()),
                "carry: expected one layer's fields, got 0 layers",
            )?;
            let mut renamed = fields.clone();
            renamed[0].0 = "q";
            let found: Vec<_> = renamed.iter().map(|(name, _)| *name).collect();
            let expected = format!("carry: expected the fields {names:?}, got {found:?}");
            refuses("another field", &Carry::Cell(renamed), &expected)?;
            let expected = format!("carry: expected the fields {names:?}, got {:?}", &names[1..]);
            refuses("a field less", &Carry::Cell(fields[1..].to_vec()), &expected)?;
        }
        Carry::Reverse(_) => bail!("the leaves have an initial state"),
    }
    let (name, field) = &carry.cells()[0][0];
    let size = field.dim(1)?;
    let one_more = |field: &Tensor| Tensor::cat(&[field, &field.narrow(0, 0, 1)?], 0);
    let expected = format!(
        "carry {name}: expected (batch, hidden) = ({batch}, {size}), got {:?}",
        [batch + 1, size]
    );
    refuses("a carry of another batch", &carry.map(&mut { one_more })?, &expected)?;
    let single = |field: &Tensor| field.to_dtype(DType::F32);
    let expected = format!("carry {name}: expected the dtype of xs, F64, got F32");
    refuses("a carry of another dtype", &carry.map(&mut { single })?, &expected)
}

/// Weights that went through a safetensors file give the same bits, by candle's tensors and by its
/// variable maps.
pub(super) fn files(case: &Case) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for dtype in [DType::F64, DType::F32] {
        let evaluation = Evaluation { dtype, ..Evaluation::new(case) }.ragged();
        let leaves = evaluation.leaves()?;
        let expected = evaluation.forward(evaluation.layer(&leaves)?.as_ref(), &leaves, None)?;

        let path = folder.path().join(format!("{dtype:?}.safetensors"));
        safetensors::save(&weights(&leaves), &path)?;
        let vb = VarBuilder::from_buffered_safetensors(std::fs::read(&path)?, dtype, &Device::Cpu)?;
        let found = evaluation.forward(evaluation.layer_on(vb)?.as_ref(), &leaves, None)?;
        all_close(&format!("{dtype:?} out of a file"), &found, &expected, Tolerance::Bits)?;

        let (mut vars, layer) = evaluation.fresh()?;
        vars.load(&path)?;
        let found = evaluation.forward(layer.as_ref(), &leaves, None)?;
        all_close(
            &format!("{dtype:?} loaded into its variables"),
            &found,
            &expected,
            Tolerance::Bits,
        )?;
        let path = folder.path().join(format!("{dtype:?}-variables.safetensors"));
        vars.save(&path)?;
        let (mut vars, layer) = evaluation.fresh()?;
        vars.load(&path)?;
        let found = evaluation.forward(layer.as_ref(), &leaves, None)?;
        all_close(
            &format!("{dtype:?} out of its variables and back"),
            &found,
            &expected,
            Tolerance::Bits,
        )?;
    }
    Ok(())
}
