//! Weights of other libraries compute the values of their networks. `tests/data/conventions.py`
//! writes the files with NumPy loops and `torch.save`.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Module, Tensor};
use recurrent::registry::variants;
use recurrent::weights::{conventions, read, Convention, PackedWeights, Tensors};
use recurrent::{
    CellKind, Direction, GruConfig, LstmConfig, Model, Nonlinearity, Reset, RnnConfig,
    VanillaConfig,
};
use recurrent_testkit::{close, Tolerance};
use std::path::PathBuf;

const CPU: Device = Device::Cpu;
const INPUT: usize = 3;
const HIDDEN: usize = 4;

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/foreign")).join(name)
}

fn lstm() -> CellKind {
    CellKind::Lstm(LstmConfig::default())
}

fn gru(reset: Reset) -> CellKind {
    CellKind::Gru(GruConfig { reset, ..GruConfig::default() })
}

fn named(name: &str) -> Result<CellKind> {
    Ok(variants().into_iter().find(|entry| entry.name == name).context("a variant")?.spec.cell)
}

/// The tensors of a file, without its input and output, and those two.
fn parts(name: &str) -> Result<(Tensors, Tensor, Tensor)> {
    let mut tensors = read(path(name))?.tensors;
    let mut take = |name: &str| tensors.remove(name).with_context(|| name.to_string());
    let (xs, ys) = (take("xs")?, take("ys")?);
    Ok((tensors, xs, ys))
}

fn check(name: &str, convention: &Convention, spec: RnnConfig) -> Result<()> {
    let (theirs, xs, ys) = parts(name)?;
    let model = Model::from_tensors(&theirs, convention, spec, (INPUT, HIDDEN), &CPU)
        .with_context(|| name.to_string())?;
    close(name, &model.forward(&xs)?, &ys, Tolerance::Max(1e-12))?;
    // Exported again, they have the same bits.
    let back = convention.export(&model.tensors())?;
    assert!(back.keys().eq(theirs.keys()), "{name}: {:?} against {:?}", back.keys(), theirs.keys());
    back.iter().try_for_each(|(part, found)| {
        close(&format!("{name}, {part}"), found, &theirs[part], Tolerance::Max(0.0))
    })
}

#[test]
fn networks_of_other_libraries_compute_the_same() -> Result<()> {
    let vanilla = CellKind::Vanilla(VanillaConfig::default());
    let cases = [
        ("keras-rnn", conventions::keras_rnn(), vanilla),
        ("keras-lstm", conventions::keras_lstm(), lstm()),
        ("keras-gru", conventions::keras_gru(), gru(Reset::After)),
        ("keras-gru-reset-before", conventions::keras_gru_reset_before(), gru(Reset::Before)),
        ("flax-lstm", conventions::flax_lstm().under("params/"), lstm()),
        ("flax-gru", conventions::flax_gru().under("params/"), gru(Reset::After)),
        ("haste-lstm", conventions::haste_lstm(), lstm()),
        ("haste-gru", conventions::haste_gru(), gru(Reset::After)),
        ("haste-layernorm-lstm", conventions::haste_layernorm_lstm(), named("layernorm-lstm")?),
        ("haste-layernorm-gru", conventions::haste_layernorm_gru(), named("layernorm-gru")?),
        ("tfa-layernorm-lstm", conventions::tfa_layernorm_lstm(), named("layernorm-lstm-tfa")?),
        ("lasagne-lstm", conventions::lasagne_lstm(), lstm()),
        ("lasagne-gru", conventions::lasagne_gru(), gru(Reset::After)),
    ];
    for (name, convention, cell) in cases {
        check(&format!("{name}.npz"), &convention, RnnConfig::new(cell))?;
    }
    Ok(())
}

#[test]
fn layers_and_directions_have_names_of_their_own() -> Result<()> {
    let convention = conventions::keras_lstm()
        .under("{layer}/{direction}_lstm/")
        .with_layers(["bidirectional", "bidirectional_1"]);
    let spec =
        RnnConfig { layers: 2, direction: Direction::Bidirectional, ..RnnConfig::new(lstm()) };
    check("keras-lstm-bidirectional.npz", &convention, spec)
}

#[test]
fn a_buffer_of_cudnn_is_unpacked() -> Result<()> {
    for (name, gates, cell) in
        [("cudnn-lstm.npz", 4, lstm()), ("cudnn-gru.npz", 3, gru(Reset::After))]
    {
        let (theirs, xs, ys) = parts(name)?;
        let packed = PackedWeights {
            gates,
            layers: 2,
            direction: Direction::Bidirectional,
            input: INPUT,
            hidden: HIDDEN,
            bias: true,
        };
        let spec =
            RnnConfig { layers: 2, direction: Direction::Bidirectional, ..RnnConfig::new(cell) };
        let ours = packed.unpack(&theirs["flat"])?;
        let model =
            Model::from_tensors(&ours, &conventions::pytorch(), spec, (INPUT, HIDDEN), &CPU)?;
        close(name, &model.forward(&xs)?, &ys, Tolerance::Max(1e-12))?;
        close(name, &packed.pack(&model.tensors())?, &theirs["flat"], Tolerance::Bits)?;
    }
    Ok(())
}

#[test]
fn checkpoints_of_pytorch_compute_the_same() -> Result<()> {
    let relu = VanillaConfig { nonlinearity: Nonlinearity::Relu, ..VanillaConfig::default() };
    let cases = [
        ("torch-rnn.pt", CellKind::Vanilla(relu), 3, Direction::Forward),
        ("torch-lstm.pt", lstm(), 2, Direction::Bidirectional),
        ("torch-gru.pt", gru(Reset::After), 2, Direction::Bidirectional),
        ("torch-parameters.pt", gru(Reset::After), 1, Direction::Forward),
        ("torch-flattened.pt", lstm(), 1, Direction::Forward),
    ];
    for (name, cell, layers, directions) in cases {
        let model = Model::from_pytorch(path(name), "state_dict.rnn.", cell, &CPU)?;
        assert_eq!(
            (model.config().layers, model.config().direction, model.dtype()),
            (layers, directions, DType::F64),
            "{name}"
        );
        let (_, xs, ys) = parts(name)?;
        close(name, &model.forward(&xs)?, &ys, Tolerance::Max(1e-12))?;
    }
    // Weights in half precision are converted to f32.
    let half = Model::from_pytorch(path("torch-half.pt"), "state_dict.rnn.", lstm(), &CPU)?;
    let (_, xs, ys) = parts("torch-half.pt")?;
    close(
        "torch-half.pt",
        &half.forward(&xs.to_dtype(DType::F32)?)?,
        &ys.to_dtype(DType::F32)?,
        Tolerance::Max(2e-6),
    )
}

#[test]
fn the_equations_of_a_convention_must_match_the_cell() -> Result<()> {
    let refusal = |convention: Convention, cell: CellKind| {
        let model = Model::import(
            path("keras-gru.npz"),
            &convention,
            RnnConfig::new(cell),
            (INPUT, HIDDEN),
            &CPU,
        );
        model.map(|_| ()).expect_err("it is refused").to_string()
    };
    let message = refusal(conventions::keras_gru(), gru(Reset::Before));
    assert!(
        message.contains(
            "convention Keras GRU: its cell has reset \"after\", got a spec with \"before\""
        ),
        "{message}"
    );
    let message = refusal(conventions::keras_lstm(), gru(Reset::After));
    assert!(message.contains("its cell has family \"lstm\", got a spec with \"gru\""), "{message}");
    let message = refusal(conventions::pytorch(), gru(Reset::After));
    assert!(
        message.contains("keras-gru.npz: weights of PyTorch: missing 'bias_hh_l0' [12]"),
        "{message}"
    );
    assert!(message.contains("these look like Keras GRU: conventions::keras_gru()"), "{message}");
    Ok(())
}
