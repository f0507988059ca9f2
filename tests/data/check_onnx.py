#!/usr/bin/env python3
"""Do exported models compute the same in onnxruntime as the layers here?

    pip install numpy onnx onnxruntime safetensors
    python3 tests/data/check_onnx.py

Exports every variant of the registry and the cell of examples/own_cell.rs, in one direction and in two, with examples/export.rs; checks each model with ONNX's
own checker; runs it in onnxruntime on the CPU from a given state, and compares outputs and final states. Ends with code 1 if any value
of a model is off by more than 1e-5. Lists the variants that the exporter refuses, with the reason.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOUND = 1e-5


def main():
    build = ["cargo", "build", "--release", "--quiet", "--features", "onnx", "--example", "export"]
    subprocess.run(build, cwd=ROOT, check=True)
    variants = re.findall(r'\b(?:main|more)\(\s*"([a-z0-9.-]+)"', (ROOT / "src/registry.rs").read_text())
    assert len(variants) > 20, variants
    variants.append("mgu")
    refused, worst, count = {}, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for variant in variants:
            for directions in ([], ["--bidirectional"]):
                path = pathlib.Path(folder) / f"{variant}{len(directions)}.onnx"
                command = [ROOT / "target/release/examples/export", "--variant", variant, *directions, path]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    refused[variant] = done.stderr.splitlines()[0].removeprefix("Error: ")
                    continue
                error = compare(path)
                print(f"{variant:24} {'both directions' if directions else 'forward':16} off by {error:.1e}")
                worst, count = max(worst, error), count + 1
    for variant, reason in refused.items():
        print(f"{variant:24} not written: {reason}")
    print(f"{count} models, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}: off by at most {worst:.1e}")
    return 0 if count and worst <= BOUND else 1


def compare(path):
    onnx.checker.check_model(onnx.load(path), full_check=True)
    here = load_file(path.with_suffix(".safetensors"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {each.name: here[each.name] for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]
    outputs = session.run(names, inputs)
    assert set(inputs) | set(names) == set(here), (set(inputs) | set(names)) ^ set(here)
    for name, found in zip(names, outputs):
        assert found.shape == here[name].shape, (path, name, found.shape, here[name].shape)
    return max(float(np.abs(found - here[name]).max()) for name, found in zip(names, outputs))


if __name__ == "__main__":
    sys.exit(main())
