//! Saves models for `tests/data/check_saved.py`, which loads them in PyTorch and compares its
//! results with the values in the files.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use recurrent::weights::{read, write, Tensors};
use recurrent::{
    Carry, CellKind, Direction, ForwardContext, GruConfig, LstmConfig, Model, Nonlinearity,
    RnnConfig, Sequence, VanillaConfig,
};
use recurrent_testkit::{close, noise, Tolerance};
use std::path::Path;

fn cells() -> Vec<(String, CellKind)> {
    let lstm = |proj, bias| CellKind::Lstm(LstmConfig { proj, bias, ..LstmConfig::default() });
    let vanilla = |nonlinearity| {
        CellKind::Vanilla(VanillaConfig { nonlinearity, ..VanillaConfig::default() })
    };
    let cells = [
        ("tanh", vanilla(Nonlinearity::Tanh)),
        ("relu", vanilla(Nonlinearity::Relu)),
        ("lstm", lstm(None, true)),
        ("lstm-nobias", lstm(None, false)),
        ("lstm-proj", lstm(Some(3), true)),
        ("gru", CellKind::Gru(GruConfig::default())),
    ];
    cells.map(|(name, cell)| (name.to_string(), cell)).to_vec()
}

/// The final states of all layers and directions, each `(batch, size)`, in PyTorch's order.
fn states(carry: &Carry, field: &str) -> Vec<Tensor> {
    let fields = carry.cells().into_iter().flatten();
    fields.filter(|(name, _)| *name == field).map(|(_, tensor)| tensor.clone()).collect()
}

#[test]
fn models_are_saved_for_pytorch() -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("exchange");
    for dtype in [DType::F32, DType::F64] {
        for (cell, layers, directions) in cells()
            .into_iter()
            .flat_map(|cell| [1, 2, 3].map(|layers| (cell.clone(), layers)))
            .flat_map(|(cell, layers)| {
                [Direction::Forward, Direction::Bidirectional]
                    .map(|both| (cell.clone(), layers, both))
            })
        {
            let (name, cell) = cell;
            let name = format!("{name}-{layers}-{directions:?}-{}", dtype.as_str()).to_lowercase();
            let spec = RnnConfig { layers, direction: directions, ..RnnConfig::new(cell) };
            let vars = VarMap::new();
            let model =
                Model::new(spec, 5, 6, VarBuilder::from_varmap(&vars, dtype, &Device::Cpu))?;
            let xs = noise("xs", &[2, 7, 5])?.to_dtype(dtype)?;
            let (ys, carry) =
                model.layer().run(&Sequence::new(xs.clone())?, None, &ForwardContext::default())?;
            model.save(folder.join(&name))?;
            let mut seen = Tensors::from([
                ("xs".to_string(), xs.clone()),
                ("ys".to_string(), ys.into_values()),
            ]);
            for field in ["h", "c"] {
                let all = states(&carry, field);
                if !all.is_empty() {
                    seen.insert(format!("{field}n"), Tensor::stack(&all, 0)?);
                }
            }
            write(folder.join(&name).join("seen.safetensors"), &seen, &Default::default())?;
            // The loaded model computes the same here.
            let seen = read(folder.join(&name).join("seen.safetensors"))?.tensors;
            let loaded = Model::load(folder.join(&name), &Device::Cpu)?;
            let (ys, _) =
                loaded.layer().run(&Sequence::new(xs)?, None, &ForwardContext::default())?;
            close(&name, ys.values(), &seen["ys"], Tolerance::Bits)?;
        }
    }
    Ok(())
}
