#!/usr/bin/env python3
"""Answers the questions of `benches/peers.py` for one library of Python, as `benches/timing.rs`
does for those of Rust:

    python3 benches/peer.py LIBRARY THREADS

Before that, the library is compared with the equations in NumPy: outputs, a stream of two chunks,
and a directional derivative of the loss.
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import Any, Callable

GATES = {"lstm": 4, "gru": 3, "vanilla": 1}
SAMPLE = 1e-4  # the shortest sample in seconds: much longer than reading the clock


@dataclass(frozen=True)
class Case:
    family: str
    mode: str
    shape: str  # TIMExBATCHxINPUTxHIDDEN
    layers: int

    @property
    def sizes(self) -> list[int]:
        return [int(size) for size in self.shape.split("x")]


class PyTorch:
    FAMILIES = {"lstm": "LSTM", "gru": "GRU", "vanilla": "RNN"}
    MODES = ["forward", "train", "stream"]
    TRANSPOSED = False  # the gradients of the weights

    def __init__(self, threads: int):
        import torch

        self.torch = torch
        torch.set_num_threads(threads)
        self.version = torch.__version__
        self.vectors = torch.backends.cpu.get_cpu_capability().lower()

    def prepare(self, case: Case, layers: list, xs: Any) -> Callable[[], Any]:
        torch, (_, _, features, hidden) = self.torch, case.sizes
        of_family = getattr(torch.nn, self.FAMILIES[case.family])
        net = of_family(features, hidden, num_layers=len(layers), batch_first=True)
        parameters = list(net.parameters())
        for parameter, value in zip(parameters, [weight for layer in layers for weight in layer]):
            parameter.data.copy_(torch.from_numpy(value))
        xs = torch.from_numpy(xs).transpose(0, 1).contiguous()
        state = None

        def forward() -> Any:
            with torch.no_grad():
                return net(xs)[0].transpose(0, 1)

        def train() -> list:
            net.zero_grad(set_to_none=True)
            ys, _ = net(xs)
            (ys * ys).mean().backward()
            return [parameter.grad for parameter in parameters]

        def stream() -> Any:
            nonlocal state
            with torch.inference_mode():
                ys, state = net(xs, state)
                return ys.transpose(0, 1)

        return {"forward": forward, "train": train, "stream": stream}[case.mode]


class OnnxRuntime:
    FAMILIES = {"lstm": "LSTM", "gru": "GRU", "vanilla": "RNN"}
    MODES = ["forward", "stream"]
    # The rows of PyTorch's weights, and ONNX's.
    ORDERS = {"lstm": ("ifgo", "iofg"), "gru": ("rzn", "zrn"), "vanilla": ("h", "h")}

    def __init__(self, threads: int):
        import onnx.helper
        import onnxruntime

        self.onnx, self.library = onnx, onnxruntime
        self.version, self.vectors = onnxruntime.__version__, ""
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1

    def weights(self, family: str, layer: list) -> list:
        """W, R and B of a node with one direction."""
        import numpy

        ours, theirs = self.ORDERS[family]

        def reorder(weight: Any) -> Any:
            parts = numpy.split(weight, len(ours))
            return numpy.concatenate([parts[ours.index(gate)] for gate in theirs])[None]

        w_ih, w_hh, b_ih, b_hh = map(reorder, layer)
        return [w_ih, w_hh, numpy.concatenate([b_ih, b_hh], 1)]

    def session(self, case: Case, layers: list) -> tuple[Any, list[str], str]:
        """The model, the states that it reads as NAME and writes as NAME_out, and its output."""
        import numpy

        helper, (steps, batch, features, hidden) = self.onnx.helper, case.sizes
        fields = {"lstm": "hc"}.get(case.family, "h") if case.mode == "stream" else ""
        reset = {"linear_before_reset": 1} if case.family == "gru" else {}
        nodes, constants, states = [], [], []
        for index, layer in enumerate(layers):
            names = [f"{name}{index}" for name in "WRB"]
            before = [f"{field}{index}" for field in fields]
            inputs = [f"x{index}", *names, "", *before]
            outputs = [f"Y{index}", *(f"{name}_out" for name in before)]
            operator, squeezed = self.FAMILIES[case.family], f"x{index + 1}"
            nodes.append(helper.make_node(operator, inputs, outputs, hidden_size=hidden, **reset))
            nodes.append(helper.make_node("Squeeze", [outputs[0], "axis"], [squeezed]))
            constants += zip(self.weights(case.family, layer), names)
            states += before
        nodes.pop()  # behind the last layer
        constants += [(numpy.array([1]), "axis")] if len(layers) > 1 else []
        # The output of a single step is the new hidden state.
        ys = f"h{index}_out" if fields and steps == 1 else f"Y{index}"

        def info(name: str, *shape: int) -> Any:
            return helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, shape)

        inputs = [info("x0", steps, batch, features)]
        inputs += [info(name, 1, batch, hidden) for name in states]
        outputs = [info(f"{name}_out", 1, batch, hidden) for name in states]
        if ys.startswith("Y"):
            outputs.append(info(ys, steps, 1, batch, hidden))
        constants = [self.onnx.numpy_helper.from_array(*constant) for constant in constants]
        graph = helper.make_graph(nodes, "layers", inputs, outputs, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = self.library.InferenceSession(
            model.SerializeToString(), self.options, providers=["CPUExecutionProvider"]
        )
        return session, states, ys

    def prepare(self, case: Case, layers: list, xs: Any) -> Callable[[], Any]:
        import numpy

        steps, batch, _, hidden = case.sizes
        session, states, output = self.session(case, layers)

        def zeros(*shape: int) -> Any:
            return self.library.OrtValue.ortvalue_from_numpy(numpy.zeros(shape, "float32"))

        # Two sets of states: one is read and the other written, and the other way round.
        sets = [{name: zeros(1, batch, hidden) for name in states} for _ in range(2)]
        x, y = self.library.OrtValue.ortvalue_from_numpy(xs), zeros(steps, 1, batch, hidden)
        bindings = []
        for before, after in (sets, sets[::-1]):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x0", x)
            for name in states:
                binding.bind_ortvalue_input(name, before[name])
                binding.bind_ortvalue_output(f"{name}_out", after[name])
            if output.startswith("Y"):
                binding.bind_ortvalue_output(output, y)
            bindings.append((binding, after.get(output.removesuffix("_out"), y)))

        def run() -> Any:
            bindings.reverse()
            binding, ys = bindings[0]
            session.run_with_iobinding(binding)
            return ys

        return run


class Jax:
    FAMILIES = ["lstm", "gru", "vanilla"]
    MODES = ["forward", "train", "stream"]
    TRANSPOSED = True

    def __init__(self, threads: int):
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
        import jax

        jax.config.update("jax_platforms", "cpu")
        self.jax, self.version, self.vectors = jax, jax.__version__, ""

        def forward(family: str, weights: list, xs: Any) -> Any:
            return self.run(family, weights, xs, None)[0]

        def loss(weights: list, family: str, xs: Any) -> Any:
            return (forward(family, weights, xs) ** 2).mean()

        self.forward = jax.jit(forward, static_argnums=0)
        self.gradient = jax.jit(jax.grad(loss), static_argnums=1)
        self.stream = jax.jit(self.run, static_argnums=0)

    def run(self, family: str, layers: list, xs: Any, states: list | None) -> tuple[Any, list]:
        """Outputs and states; weights are (input, gates x hidden), zero states None."""
        jax, finals = self.jax, []
        sigmoid, tanh, split = jax.nn.sigmoid, jax.numpy.tanh, jax.numpy.split

        def step(w_hh: Any, b_hh: Any, state: tuple, a: Any) -> tuple:
            h, b = state[0], state[0] @ w_hh + b_hh
            if family == "vanilla":
                state = (tanh(a + b),)
            elif family == "gru":
                (ar, az, an), (br, bz, bn) = split(a, 3, -1), split(b, 3, -1)
                n, z = tanh(an + sigmoid(ar + br) * bn), sigmoid(az + bz)
                state = (n + z * (h - n),)
            else:
                i, f, g, o = split(a + b, 4, -1)
                c = sigmoid(f) * state[1] + sigmoid(i) * tanh(g)
                state = (sigmoid(o) * tanh(c), c)
            return state, state[0]

        for index, (w_ih, w_hh, b_ih, b_hh) in enumerate(layers):
            zero = jax.numpy.zeros((xs.shape[1], w_hh.shape[0]))
            state = states[index] if states else (zero,) * (2 if family == "lstm" else 1)
            body = jax.tree_util.Partial(step, w_hh, b_hh)
            state, xs = jax.lax.scan(body, state, xs @ w_ih + b_ih)
            finals.append(state)
        return xs, finals

    def prepare(self, case: Case, layers: list, xs: Any) -> Callable[[], Any]:
        jax, family, (_, batch, _, hidden) = self.jax, case.family, case.sizes
        xs, weights = jax.device_put((xs, [[a.T.copy() for a in layer] for layer in layers]))
        zero = jax.numpy.zeros((batch, hidden))
        states = [(zero,) * (2 if family == "lstm" else 1) for _ in layers]

        def forward() -> Any:
            return jax.block_until_ready(self.forward(family, weights, xs))

        def train() -> list:
            gradients = jax.block_until_ready(self.gradient(weights, family, xs))
            return [gradient for layer in gradients for gradient in layer]

        def stream() -> Any:
            nonlocal states
            ys, states = self.stream(family, weights, xs, states)
            return jax.block_until_ready(ys)

        return {"forward": forward, "train": train, "stream": stream}[case.mode]


LIBRARIES = {"PyTorch": PyTorch, "ONNX Runtime": OnnxRuntime, "JAX": Jax}


def weights_and_input(case: Case) -> tuple[list, Any]:
    """The weights of each layer in PyTorch's layout, and an input (time, batch, input)."""
    import numpy

    steps, batch, features, hidden = case.sizes
    random, layers = numpy.random.default_rng(0), []
    rows = GATES[case.family] * hidden
    for inputs in [features] + [hidden] * (case.layers - 1):
        shapes = [(rows, inputs), (rows, hidden), (rows,), (rows,)]
        weights = [random.uniform(-1, 1, shape) / hidden**0.5 for shape in shapes]
        layers.append([weight.astype("float32") for weight in weights])
    return layers, random.standard_normal((steps, batch, features), "float32")


def equations(family: str, layers: list, xs: Any) -> Any:
    """The outputs (time, batch, hidden) in NumPy."""
    from numpy import exp, split, stack, tanh, zeros

    def sigmoid(a: Any) -> Any:
        return 1 / (1 + exp(-a))

    for w_ih, w_hh, b_ih, b_hh in layers:
        h = c = zeros((xs.shape[1], w_hh.shape[1]))
        ys = []
        for x in xs:
            a, b = x @ w_ih.T + b_ih, h @ w_hh.T + b_hh
            if family == "vanilla":
                h = tanh(a + b)
            elif family == "gru":
                r, z = split(sigmoid(a + b), 3, -1)[:2]
                n = tanh(split(a, 3, -1)[2] + r * split(b, 3, -1)[2])
                h = (1 - z) * n + z * h
            else:
                i, f, g, o = split(a + b, 4, -1)
                c = sigmoid(f) * c + sigmoid(i) * tanh(g)
                h = sigmoid(o) * tanh(c)
            ys.append(h)
        xs = stack(ys)
    return xs


def check(library: Any, case: Case) -> None:
    """Compares a run of the library with the equations."""
    import numpy

    def array(values: Any) -> Any:
        return values.numpy() if hasattr(values, "numpy") else numpy.asarray(values)

    def loss(sign: float) -> Any:
        pairs = zip(layers, directions)
        moved = [[w.astype(float) + sign * d for w, d in zip(*pair)] for pair in pairs]
        return (equations(case.family, moved, xs) ** 2).mean()

    layers, xs = weights_and_input(case)
    run = library.prepare(case, layers, xs)
    if case.mode == "train":
        directions = [[1e-3 * numpy.cos(50.0 * w) for w in layer] for layer in layers]
        expected = 0.5 * (loss(1.0) - loss(-1.0))
        gradients = [array(g).T if library.TRANSPOSED else array(g) for g in run()]
        flat = [direction for layer in directions for direction in layer]
        found = sum((g * d).sum() for g, d in zip(gradients, flat, strict=True))
    elif case.mode == "stream":
        run()
        expected = equations(case.family, layers, numpy.concatenate([xs, xs]))[len(xs) :]
        found = array(run()).reshape(expected.shape)
    else:
        expected = equations(case.family, layers, xs)
        found = array(run()).reshape(expected.shape)
    error = numpy.abs(found - expected).max() / numpy.abs(expected).max()
    if not error < 1e-4:
        raise ValueError(f"{case} differs from the equations by {error:.1e}")


def median_time(run: Callable[[], Any], seconds: float) -> float:
    """As `median_time` in `benches/timing.rs`, in milliseconds."""

    def sample(runs: int) -> float:
        start = time.perf_counter()
        for _ in range(runs):
            run()
        return (time.perf_counter() - start) / runs

    runs = max(1, math.ceil(SAMPLE / sample(1)))  # warm
    times: list[float] = []
    start = time.perf_counter()
    while not times or time.perf_counter() - start < seconds:
        times.append(sample(runs))
    return 1e3 * median(times)


def serve(name: str, threads: int) -> None:
    library = LIBRARIES[name](threads)
    for family in library.FAMILIES:
        for mode in library.MODES:
            for shape in ("5x3x4x6", "1x2x3x4"):
                check(library, Case(family, mode, shape, 2))
    facts = f"version={library.version} threads={threads} vectors={library.vectors}"
    print("ready", facts, flush=True)
    for question in sys.stdin:
        family, mode, *sizes, layers, seconds = question.split()[1:]
        case = Case(family, mode, "x".join(sizes), int(layers))
        milliseconds = median_time(library.prepare(case, *weights_and_input(case)), float(seconds))
        print("ok", milliseconds, flush=True)


if __name__ == "__main__":
    try:
        serve(sys.argv[1], int(sys.argv[2]))
    except (ImportError, ValueError) as error:
        print("error", str(error).splitlines()[0], flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
