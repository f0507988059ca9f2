//! Models in files: loaded models equal saved ones, and unfit files are refused with a clear
//! message.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Optimizer, VarBuilder, VarMap, SGD};
use recurrent::registry::variants;
use recurrent::weights::{conventions, read, write, Tensors};
use recurrent::{
    CellKind, Direction, GruConfig, LstmConfig, Model, Nonlinearity, Reset, RnnConfig,
    VanillaConfig,
};
use recurrent_testkit::reference::{cases, load, ReferenceCase};
use recurrent_testkit::{close, noise, Tolerance};
use std::path::Path;

const CPU: Device = Device::Cpu;

fn model(spec: RnnConfig) -> Result<Model> {
    let vars = VarMap::new();
    let model = Model::new(spec, 3, 4, VarBuilder::from_varmap(&vars, DType::F64, &CPU))?;
    for (name, var) in vars.data().lock().expect("no test panics with it").iter() {
        var.set(&noise(name, var.dims())?.to_dtype(DType::F64)?)?;
    }
    Ok(model)
}

fn same(what: &str, found: &Model, expected: &Model) -> Result<()> {
    let xs = noise("xs", &[2, 5, 3])?.to_dtype(expected.dtype())?;
    close(what, &found.forward(&xs)?, &expected.forward(&xs)?, Tolerance::Max(1e-14))
}

fn lstm() -> RnnConfig {
    RnnConfig::new(CellKind::Lstm(LstmConfig::default()))
}

fn refusal<T>(result: candle_core::Result<T>) -> String {
    match result {
        Ok(_) => "nothing was refused".to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_variant_is_loaded_unchanged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for entry in variants() {
        let spec =
            RnnConfig { learned_start: true, direction: Direction::Bidirectional, ..entry.spec };
        let saved = model(spec)?;
        saved.save(folder.path()).with_context(|| entry.name)?;
        let loaded = Model::load(folder.path(), &CPU).with_context(|| entry.name)?;
        assert_eq!(loaded.config(), saved.config());
        assert!(
            loaded.layer().params().iter().all(|(_, tensor)| !tensor.track_op()),
            "{}",
            entry.name
        );
        same(entry.name, &loaded, &saved)?;
    }
    Ok(())
}

#[test]
fn a_loaded_model_trains_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let saved = model(lstm())?;
    saved.save(folder.path())?;
    let vars = VarMap::new();
    let loaded = Model::load_into(&vars, folder.path(), &CPU)?;
    same("before training", &loaded, &saved)?;
    assert_eq!(vars.all_vars().len(), 4);
    let loss = |model: &Model| {
        let xs = Tensor::ones((2, 5, 3), DType::F64, &CPU)?;
        model.forward(&xs)?.sqr()?.mean_all()
    };
    let before = loss(&loaded)?;
    SGD::new(vars.all_vars(), 0.1)?.backward_step(&before)?;
    assert!(loss(&loaded)?.to_scalar::<f64>()? < before.to_scalar::<f64>()?);
    Ok(())
}

#[test]
fn configs_are_checked() -> Result<()> {
    let folder = tempfile::tempdir()?;
    model(lstm())?.save(folder.path())?;
    let config = folder.path().join("config.json");
    let text = std::fs::read_to_string(&config)?;
    let weights = folder.path().join("model.safetensors");
    let tensors = read(&weights)?.tensors;
    write(&weights, &tensors, &Default::default())?; // without the copy of the config
    let changes = [
        ("\"format\": 1", "\"format\": 7", "format: this version reads 1, found 7"),
        (
            "\"family\": \"lstm\"",
            "\"family\": \"lstn\"",
            "unknown variant `lstn`, expected one of `vanilla`, `lstm`",
        ),
        ("\"peepholes\"", "\"peephole\"", "spec.cell.peephole: unknown key"),
        (
            "\"kind\": \"recurrent\"",
            "\"kind\": \"bert\"",
            "kind: expected \"recurrent\", found \"bert\"",
        ),
        (
            "\"dtype\": \"f64\"",
            "\"dtype\": \"i64\"",
            "dtype: expected f16, bf16, f32 or f64, found \"i64\"",
        ),
        ("\"dtype\": \"f64\"", "\"dtype\": \"f32\"", "'bias_hh_l0': expected f32, found f64"),
        ("\"hidden\": 4", "\"hidden\": 3", "misshapen 'bias_hh_l0' (expected [12], found [16])"),
        ("\"hidden\": 4", "\"hidden\": 90", "expected 34200 numbers, found 144"),
        (
            "\"hidden\": 4",
            "\"hidden\": 900000000000",
            "1 layers of 900000000000 units on 3 features, found 4 tensors",
        ),
        ("\"layers\": 1", "\"layers\": 2", "expected 304 numbers, found 144"),
        ("\"layers\": 1", "\"layers\": 0", "stack: expected at least one layer"),
        ("{", "", "trailing characters"),
    ];
    for (from, to, expected) in changes {
        std::fs::write(&config, text.replacen(from, to, 1))?;
        let message = refusal(Model::load(folder.path(), &CPU));
        assert!(message.contains(expected), "{to}: {message}");
    }
    std::fs::write(&config, &text)?;
    Model::load(folder.path(), &CPU)?;
    Ok(())
}

#[test]
fn files_that_do_not_belong_together_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    model(RnnConfig::new(CellKind::Vanilla(VanillaConfig::default())))?.save(folder.path())?;
    let config = folder.path().join("config.json");
    // The same shapes, but another network.
    std::fs::write(&config, std::fs::read_to_string(&config)?.replace("tanh", "relu"))?;
    let message = refusal(Model::load(folder.path(), &CPU));
    assert!(message.contains("it does not belong to model.safetensors beside it"), "{message}");
    std::fs::remove_file(&config)?;
    assert!(refusal(Model::load(folder.path(), &CPU)).contains("config.json: "));
    Ok(())
}

/// The PyTorch modules among the reference files; their weights have the prefix `param.` there.
fn of_reference(case: &ReferenceCase) -> Option<CellKind> {
    Some(match (case.family.as_str(), case.nonlinearity.as_deref()) {
        ("vanilla", Some("tanh")) => CellKind::Vanilla(VanillaConfig::default()),
        ("vanilla", _) => CellKind::Vanilla(VanillaConfig {
            nonlinearity: Nonlinearity::Relu,
            ..Default::default()
        }),
        ("lstm", _) => CellKind::Lstm(LstmConfig::default()),
        ("gru", _) => CellKind::Gru(GruConfig::default()),
        _ => return None,
    })
}

#[test]
fn modules_of_pytorch_are_read_by_their_shapes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut seen = 0;
    for name in cases()? {
        let reference = load(&name)?;
        let case = &reference.case;
        let Some(cell) = of_reference(case) else { continue };
        seen += 1;
        let path = folder.path().join("checkpoint.safetensors");
        write(&path, &reference.tensors.into_iter().collect(), &Default::default())?;
        let model = Model::from_pytorch(&path, "param.", cell, &CPU)?;
        let directions =
            if case.bidirectional { Direction::Bidirectional } else { Direction::Forward };
        assert_eq!(
            (model.config().layers, model.config().direction),
            (case.layers, directions),
            "{name}"
        );
        assert_eq!((model.input_size(), model.hidden_size()), (case.input, case.hidden), "{name}");
        if case.lengths.is_none() && !case.initial_state {
            let (tolerance, tensors) =
                (if case.dtype == "f32" { 2e-5 } else { 1e-12 }, read(&path)?.tensors);
            close(
                &name,
                &model.forward(&tensors["xs"])?,
                &tensors["ys"],
                Tolerance::Max(tolerance),
            )?;
        }
    }
    assert!(seen >= 30, "{seen}");
    Ok(())
}

#[test]
fn another_family_or_prefix_is_refused() -> Result<()> {
    let tensors = model(RnnConfig::new(CellKind::Gru(GruConfig::default())))?.tensors();
    let under: Tensors =
        tensors.iter().map(|(name, tensor)| (format!("encoder.{name}"), tensor.clone())).collect();
    let of =
        |found: &Tensors, prefix: &str, cell| refusal(RnnConfig::of_pytorch(cell, found, prefix));
    let message = of(&tensors, "", lstm().cell);
    assert!(
        message.contains("expected 4 rows for each of 4 units, found 12, as in a GRU"),
        "{message}"
    );
    let message = of(&under, "decoder.", lstm().cell);
    assert!(
        message.contains("expected 'weight_ih_l0' under it, found it under [\"encoder.\"]"),
        "{message}"
    );
    assert!(RnnConfig::of_pytorch(CellKind::Gru(GruConfig::default()), &under, "encoder.").is_ok());
    Ok(())
}

fn import(
    path: &Path,
    convention: &recurrent::weights::Convention,
    spec: RnnConfig,
) -> candle_core::Result<Model> {
    Model::import(path, convention, spec, (3, 4), &CPU)
}

#[test]
fn a_model_goes_through_every_convention_and_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("theirs.safetensors");
    let before = GruConfig { reset: Reset::Before, ..GruConfig::default() };
    let specs = [
        lstm().cell,
        CellKind::Gru(GruConfig::default()),
        CellKind::Gru(before),
        CellKind::Vanilla(VanillaConfig::default()),
    ];
    let normed = ["layernorm-lstm", "layernorm-gru", "layernorm-lstm-tfa"];
    let normed = variants()
        .into_iter()
        .filter(|entry| normed.contains(&entry.name))
        .map(|entry| entry.spec.cell);
    let specs: Vec<_> = specs.into_iter().chain(normed).collect();
    for convention in conventions::all() {
        let mut taken = 0;
        for cell in &specs {
            let layers = RnnConfig {
                layers: 2,
                direction: Direction::Bidirectional,
                ..RnnConfig::new(cell.clone())
            };
            let under = if convention.rest { "net." } else { "net/{layer}/{direction}/" };
            let convention = convention.clone().under(under);
            let value = serde_json::to_value(cell)?;
            let fits =
                convention.requires.iter().all(|(option, expected)| value[option] == *expected);
            let mut there = model(layers.clone())?.tensors();
            if !fits {
                let message = refusal(model(layers)?.export(&path, &convention));
                assert!(message.contains("its cell has"), "{message}");
                continue;
            }
            // A convention with one bias, or one fewer, adds the second bias to the first. After
            // one round trip the weights stay the same.
            if convention.weights.iter().any(|weight| weight.absorbs.is_some()) {
                for (name, tensor) in &mut there {
                    if name.starts_with("bias_hh") {
                        *tensor = tensor.zeros_like()?;
                    }
                }
            }
            let plain = conventions::pytorch();
            let ours = Model::from_tensors(&there, &plain, layers.clone(), (3, 4), &CPU)?;
            ours.export(&path, &convention)?;
            same(&convention.name, &import(&path, &convention, layers.clone())?, &ours)?;
            taken += 1;
        }
        assert!(taken > 0, "{}", convention.name);
    }
    Ok(())
}
