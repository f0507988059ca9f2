#!/usr/bin/env python3
"""PyTorch loads the files that the Rust crates save, and computes the same from them.

    cargo test --release --test tests exchange        writes target/exchange/*.safetensors: weights, xs and ys of each model
    python3 tests/data/check_saved.py           loads them into torch.nn.RNN, LSTM and GRU, strictly, and compares outputs and last states

Needs PyTorch and NumPy, but no package for safetensors. Prints one line per file, and ends with an error if outputs differ.
"""

import json
import pathlib
import struct
import sys

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "target" / "exchange"
KINDS = {"F32": "<f4", "F64": "<f8"}


def read(path):
    """Tensors and metadata of a safetensors file."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + length])
    metadata, data = header.pop("__metadata__", {}), content[8 + length:]
    array = lambda entry: np.frombuffer(data[slice(*entry["data_offsets"])], KINDS[entry["dtype"]]).reshape(entry["shape"])
    return {name: torch.from_numpy(array(entry).copy()) for name, entry in header.items()}, metadata


def module(spec, input, hidden, dtype):
    """The PyTorch module for a spec of this library."""
    cell = spec["cell"]
    more = {"nonlinearity": cell["nonlinearity"]} if cell["family"] == "vanilla" else {}
    more.update({"proj_size": cell["proj"]} if cell.get("proj") else {})
    made = {"vanilla": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell["family"]]
    return made(input, hidden, spec["layers"], bias=cell["bias"], batch_first=True,
                bidirectional=spec["directions"] == "both", dtype=dtype, **more)


def main():
    torch.set_num_threads(1)
    paths = sorted(FOLDER.glob("*/model.safetensors"))
    assert paths, f"{FOLDER}: no model; run the Rust test first"
    for path in paths:
        weights, metadata = read(path)
        config = json.loads((path.parent / "config.json").read_text())
        assert json.loads(metadata["config"]) == config
        seen, _ = read(path.parent / "seen.safetensors")
        dtype, tolerance = {"f32": (torch.float32, 2e-6), "f64": (torch.float64, 1e-13)}[config["dtype"]]
        rnn = module(config["spec"], config["input"], config["hidden"], dtype)
        rnn.load_state_dict(weights, strict=True)
        with torch.no_grad():
            ys, end = rnn(seen["xs"])
        found = {"ys": ys, **dict(zip(("hn", "cn"), end if isinstance(end, tuple) else (end,)))}
        worst = max((found[name] - seen[name]).abs().max().item() for name in found)
        assert found.keys() | {"xs"} == seen.keys(), (found.keys(), seen.keys())
        print(f"{path.parent.name:40} largest difference {worst:.1e}")
        assert worst <= tolerance, path
    print(f"{len(paths)} models, PyTorch {torch.__version__}")


if __name__ == "__main__":
    sys.exit(main())
