//! Files that are written can be read, and files without tensors are refused with their kind.

use candle_core::{DType, Device, Result, Tensor};
use recurrent_core::Direction;
use recurrent_weights::{conventions, read, write, Convention, PackedWeights, Tensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn foreign(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/foreign").join(name)
}

fn counting(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::arange(0f32, count as f32, &Device::Cpu)
        .and_then(|all| all.reshape(shape))
        .expect("a shape of that many")
}

#[test]
fn safetensors_come_back_with_their_metadata() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.safetensors");
    let mut tensors = Tensors::from([
        ("a".to_string(), counting(&[2, 3])),
        ("b".to_string(), counting(&[2, 3]).t()?),
    ]);
    for (name, dtype) in
        [("c", DType::F64), ("d", DType::F16), ("e", DType::BF16), ("f", DType::I64)]
    {
        tensors.insert(name.to_string(), counting(&[4]).to_dtype(dtype)?);
    }
    tensors.insert("none".to_string(), counting(&[0, 3]));
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    write(&path, &tensors, &metadata)?;
    let contents = read(&path)?;
    assert_eq!(contents.metadata, metadata);
    assert!(contents.tensors.keys().eq(tensors.keys()));
    for (name, tensor) in &tensors {
        let found = &contents.tensors[name];
        assert_eq!((found.dtype(), found.dims()), (tensor.dtype(), tensor.dims()), "{name}");
        let values = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        assert_eq!(values(found)?, values(tensor)?, "{name}");
    }
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
    Ok(())
}

#[test]
fn a_checkpoint_of_pytorch_is_flattened() -> Result<()> {
    let tensors = read(foreign("torch-flattened.pt"))?.tensors;
    let names: Vec<_> = tensors.keys().map(String::as_str).collect();
    let expected = [
        "state_dict.norm.bias",
        "state_dict.norm.num_batches_tracked",
        "state_dict.norm.running_mean",
        "state_dict.norm.running_var",
        "state_dict.norm.weight",
        "state_dict.rnn.bias_hh_l0",
        "state_dict.rnn.bias_ih_l0",
        "state_dict.rnn.weight_hh_l0",
        "state_dict.rnn.weight_ih_l0",
        "state_dict.turned",
        "state_dict.wide",
        "xs",
        "ys",
    ];
    assert_eq!(names, expected);
    let cube = |name: &str| tensors[name].to_vec3::<f64>();
    let (xs, turned, wide) = (cube("xs")?, cube("state_dict.turned")?, cube("state_dict.wide")?);
    for (b, t, i) in (0..2).flat_map(|b| (0..5).flat_map(move |t| (0..3).map(move |i| (b, t, i)))) {
        assert_eq!((turned[i][t][b], wide[b][t][i]), (xs[b][t][i], xs[b][t][0]));
    }
    Ok(())
}

#[test]
fn other_files_are_refused_with_their_kind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let refusal = |path: &Path| read(path).expect_err("it is no file of tensors").to_string();
    let message = refusal(&foreign("refused-module.pt"));
    assert!(
        message.contains("refused-module.pt: data.pkl: it asks for \"torch.nn.modules.rnn.RNN\""),
        "{message}"
    );
    assert!(
        message.contains("expected a file of torch.save(module.state_dict(), path)"),
        "{message}"
    );
    assert!(refusal(&foreign("refused-legacy.pt")).contains("PyTorch before 1.6"));
    let path = folder.path().join("weights");
    for (bytes, expected) in [
        (&b""[..], "found 0 bytes"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"PK\x03\x04", "zip: "),
        (b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "hello"),
        (b"hello, world", "bytes of another kind"),
    ] {
        std::fs::write(&path, bytes)?;
        if expected == "hello" {
            assert!(read(&path)?.tensors.is_empty()); // an empty archive
        } else {
            assert!(refusal(&path).contains(expected), "{}", refusal(&path));
        }
    }
    assert!(refusal(&folder.path().join("nowhere.pt")).contains("nowhere.pt: "));
    Ok(())
}

/// The shapes of an LSTM, 3 features and 2 units.
fn lstm() -> Vec<(String, Vec<usize>)> {
    let shapes = [
        ("weight_ih", vec![8, 3]),
        ("weight_hh", vec![8, 2]),
        ("bias_ih", vec![8]),
        ("bias_hh", vec![8]),
    ];
    shapes.into_iter().map(|(name, shape)| (format!("{name}_l0"), shape)).collect()
}

fn made(shapes: &[(&str, &[usize])]) -> Tensors {
    shapes.iter().map(|(name, shape)| (name.to_string(), counting(shape))).collect()
}

#[test]
fn one_error_lists_everything_and_suggests_a_convention() {
    let found = made(&[
        ("rnn.weight_ih_l0", &[8, 4]),
        ("rnn.weight_hh_l0", &[8, 2]),
        ("rnn.bias_ih_l0", &[8]),
        ("rnn.bias_hh_l1", &[8]),
        ("head.weight", &[5, 5]),
    ]);
    let error = conventions::pytorch()
        .under("rnn.")
        .import(&found, &lstm())
        .expect_err("three things are wrong");
    let expected =
        "weights of PyTorch: missing 'rnn.bias_hh_l0' [8]; superfluous 'rnn.bias_hh_l1' [8]; \
                    misshapen 'rnn.weight_ih_l0' (expected [8, 3], found [8, 4])";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert!(!error.to_string().contains("look like"), "{error}");
    let message =
        conventions::pytorch().import(&found, &lstm()).expect_err("there is no prefix").to_string();
    assert!(
        message.contains("these look like PyTorch: conventions::pytorch().under(\"rnn.\")"),
        "{message}"
    );
    let message =
        recurrent_weights::check("a file", &lstm(), &found).expect_err("other names").to_string();
    assert!(
        message.starts_with("weights of a file: missing 'bias_hh_l0' [8], 'bias_ih_l0' [8]"),
        "{message}"
    );
}

#[test]
fn every_convention_is_recognised() -> Result<()> {
    let sizes = |rows: usize| {
        let weights = [
            ("weight_ih", vec![rows, 3]),
            ("weight_hh", vec![rows, 2]),
            ("bias_ih", vec![rows]),
            ("bias_hh", vec![rows]),
        ];
        weights.map(|(name, shape)| (format!("{name}_l0"), shape)).to_vec()
    };
    let normed =
        |rows: usize, more: &[&str]| {
            let mut all = sizes(rows);
            all.extend(more.iter().map(|name| {
                (format!("{name}_l0"), vec![if name.ends_with("_c") { 2 } else { rows }])
            }));
            all
        };
    for convention in conventions::all() {
        let expected = match convention.source.as_str() {
            "conventions::haste_layernorm_lstm()" => {
                normed(8, &["gain_ih", "gain_hh", "gain_c", "bias_c"])
            }
            "conventions::haste_layernorm_gru()" => normed(6, &["gain_ih", "gain_hh"]),
            "conventions::tfa_layernorm_lstm()" => {
                normed(8, &["bias", "gain_ih", "gain_hh", "gain_c", "bias_c"])
            }
            _ => sizes(2 * convention.gates.len().max(1)),
        };
        let ours: Tensors = expected
            .iter()
            .map(|(name, shape)| {
                (
                    name.clone(),
                    Tensor::zeros(shape.as_slice(), DType::F32, &Device::Cpu).expect("memory"),
                )
            })
            .collect();
        let theirs = convention.clone().under("model/rnn/").export(&ours)?;
        assert!(convention.clone().under("model/rnn/").import(&theirs, &expected).is_ok());
        let other = Convention { source: String::new(), ..conventions::pytorch() };
        let message = other.import(&theirs, &expected).expect_err("there is no prefix").to_string();
        // Keras's and haste's LSTM differ only in the order of gates, which names and shapes do not
        // show, so the hint names both.
        let hint = format!("{}: {}.under(\"model/rnn/\")", convention.name, convention.source);
        assert!(message.contains(&hint), "{message}");
    }
    Ok(())
}

#[test]
fn a_convention_is_plain_data() -> Result<()> {
    for convention in conventions::all() {
        let text = serde_json::to_string(&convention).map_err(candle_core::Error::wrap)?;
        assert_eq!(
            serde_json::from_str::<Convention>(&text).map_err(candle_core::Error::wrap)?,
            convention
        );
    }
    // One written by hand: an LSTM with a matrix for each gate, rows o, i, g, f for the rest, i
    // negated.
    let text = r#"{"name": "own", "ours": ["i", "f", "g", "o"],
        "gates": [{"ours": "o", "theirs": "out"}, {"ours": "i", "theirs": "in", "negated": true}, {"ours":
            "g", "theirs": "new"}, {"ours": "f", "theirs": "keep"}],
        "weights": [{"ours": "weight_ih", "theirs": "{layer}.{gate}.w", "transposed": true}, {"ours":
            "weight_hh", "theirs": "{layer}.u"},
                    {"ours": "bias_ih", "theirs": "{layer}.b", "absorbs": {"ours": "bias_hh"}}]}"#;
    let own: Convention = serde_json::from_str(text).map_err(candle_core::Error::wrap)?;
    let ours: Tensors =
        lstm().iter().map(|(name, shape)| (name.clone(), counting(shape))).collect();
    let theirs = own.with_layers(["bottom"]).export(&ours)?;
    let names: Vec<_> = theirs.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["bottom.b", "bottom.in.w", "bottom.keep.w", "bottom.new.w", "bottom.out.w", "bottom.u"]
    );
    assert_eq!(theirs["bottom.in.w"].to_vec2::<f32>()?, [[0., -3.], [-1., -4.], [-2., -5.]]);
    assert_eq!(theirs["bottom.keep.w"].to_vec2::<f32>()?, [[6., 9.], [7., 10.], [8., 11.]]);
    assert_eq!(theirs["bottom.b"].to_vec1::<f32>()?, [12., 14., 0., -2., 8., 10., 4., 6.]);
    Ok(())
}

#[test]
fn contradictory_and_incomplete_conventions_are_refused() {
    let ours: Tensors =
        lstm().iter().map(|(name, shape)| (name.clone(), counting(shape))).collect();
    let message = |result: Result<Tensors>| result.expect_err("it is refused").to_string();
    let keras = conventions::keras_lstm();
    let mut two = lstm();
    two.extend(lstm().into_iter().map(|(name, shape)| (name.replace("_l0", "_l1"), shape)));
    let found = message(keras.import(&Tensors::new(), &two));
    assert!(found.contains("'kernel' would be both 'weight_ih_l0' and 'weight_ih_l1'"), "{found}");
    let found =
        message(keras.clone().with_layers(["a"]).under("{layer}/").import(&Tensors::new(), &two));
    assert!(found.contains("there are names for 1 layers, expected one for layer 1"), "{found}");
    let mut projected = ours.clone();
    projected.insert("weight_hr_l0".to_string(), counting(&[1, 2]));
    assert!(
        message(keras.export(&projected)).contains("there is no place for 'weight_hr_l0' [1, 2]")
    );
    let mut other = keras.clone();
    other.gates.pop();
    assert!(message(other.export(&ours)).contains("expected the same gates on both sides"));
    let other =
        Convention { weights: [keras.weights.clone(), keras.weights.clone()].concat(), ..keras };
    assert!(message(other.export(&ours)).contains("'weight_ih' is listed twice"));
    // Lasagne's GRU has one bias and resets after the product, so it has no place for a b_hn that
    // is not zero.
    let gru: Tensors = made(&[
        ("weight_ih_l0", &[6, 3]),
        ("weight_hh_l0", &[6, 2]),
        ("bias_ih_l0", &[6]),
        ("bias_hh_l0", &[6]),
    ]);
    assert!(message(conventions::lasagne_gru().export(&gru))
        .contains("'bias_hh_l0' of gate \"n\" is not zero"));
    assert!(conventions::flax_gru().export(&gru).is_ok());
}

#[test]
fn a_packed_buffer_round_trips() -> Result<()> {
    let packed = PackedWeights {
        gates: 3,
        layers: 2,
        direction: Direction::Bidirectional,
        input: 3,
        hidden: 2,
        bias: true,
    };
    let count = 2 * 6 * (3 + 2) + 2 * 6 * (4 + 2) + 4 * 2 * 6;
    let buffer = counting(&[count]);
    let tensors = packed.unpack(&buffer)?;
    assert_eq!(tensors.len(), 16);
    assert_eq!(tensors["bias_hh_l1_reverse"].to_vec1::<f32>()?.last(), Some(&(count as f32 - 1.0)));
    assert_eq!(packed.pack(&tensors)?.to_vec1::<f32>()?, buffer.to_vec1::<f32>()?);
    let error = packed.unpack(&counting(&[7])).expect_err("too few").to_string();
    assert!(error.contains(&format!("expected {count} values")), "{error}");
    assert!(packed.pack(&Tensors::new()).is_err());
    Ok(())
}
