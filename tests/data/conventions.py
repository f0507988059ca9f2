#!/usr/bin/env python3
"""Files in the formats of other libraries, with the results of their networks, for tests/foreign.rs.

    /usr/bin/python3 tests/data/conventions.py            writes tests/data/foreign/*, about 100 kB, in a second
    /usr/bin/python3 tests/data/conventions.py --check    writes nothing; compares the arrays of the committed files

Two kinds. `NAME.npz`: weights as Keras, Flax, haste, TensorFlow Addons, Lasagne and cuDNN name and lay them out, drawn at random in f64, and
`xs` (batch, time, input) and `ys` (batch, time, output), which the loops below compute from them: the equations of each library's
documentation in NumPy, written without a look at the Rust code. `NAME.pt`: torch.nn modules written by torch.save, together with `xs` and `ys`.

The committed files were made with PyTorch 1.13.1 (Debian 12) and NumPy 1.24.2. A zip archive holds times, so bytes differ from run to run.
"""

import argparse
import pathlib
import warnings
import zlib

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent / "foreign"
BATCH, TIME, INPUT, HIDDEN = 2, 5, 3, 4


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def layer_norm(v, gamma, beta=0.0, eps=1e-5):
    return (v - v.mean(1, keepdims=True)) / np.sqrt(v.var(1, keepdims=True) + eps) * gamma + beta


def over_time(step, xs, fields, hidden=HIDDEN):
    state, ys = [np.zeros((xs.shape[0], hidden))] * fields, []
    for t in range(xs.shape[1]):
        state = step(xs[:, t], *state)
        ys.append(state[0])
    return np.stack(ys, 1)


class Draw:
    """Arrays by name, drawn from the name of the case."""

    def __init__(self, name):
        self.normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal
        self.arrays = {}

    def __call__(self, name, *shape, shift=0.0):
        self.arrays[name] = shift + 0.5 * self.normal(shape)
        return self.arrays[name]


# Keras: inputs @ kernel; columns i, f, c, o and z, r, h.

def keras_rnn(w):
    k, u, b = w("kernel", INPUT, HIDDEN), w("recurrent_kernel", HIDDEN, HIDDEN), w("bias", HIDDEN)
    return lambda xs: over_time(lambda x, h: (np.tanh(x @ k + h @ u + b),), xs, 1)


def keras_lstm(w, under="", input=INPUT):
    k, u = w(f"{under}kernel", input, 4 * HIDDEN), w(f"{under}recurrent_kernel", HIDDEN, 4 * HIDDEN)
    b = w(f"{under}bias", 4 * HIDDEN)

    def step(x, h, c):
        i, f, g, o = np.split(x @ k + h @ u + b, 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    return lambda xs: over_time(step, xs, 2)


def keras_bidirectional(w):
    """Two layers Bidirectional(LSTM), merged by concatenation; the backward layer reverses its input, and then its output."""
    layers = [(keras_lstm(w, f"{layer}/forward_lstm/", input), keras_lstm(w, f"{layer}/backward_lstm/", input))
              for layer, input in (("bidirectional", INPUT), ("bidirectional_1", 2 * HIDDEN))]

    def run(xs):
        for forward, backward in layers:
            xs = np.concatenate([forward(xs), backward(xs[:, ::-1])[:, ::-1]], 2)
        return xs

    return run


def keras_gru(w):
    k, u, b = w("kernel", INPUT, 3 * HIDDEN), w("recurrent_kernel", HIDDEN, 3 * HIDDEN), w("bias", 2, 3 * HIDDEN)

    def step(x, h):
        xz, xr, xh = np.split(x @ k + b[0], 3, 1)
        hz, hr, hh = np.split(h @ u + b[1], 3, 1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        return (z * h + (1 - z) * np.tanh(xh + r * hh),)

    return lambda xs: over_time(step, xs, 1)


def keras_gru_reset_before(w):
    k, u, b = w("kernel", INPUT, 3 * HIDDEN), w("recurrent_kernel", HIDDEN, 3 * HIDDEN), w("bias", 3 * HIDDEN)
    uz, ur, uh = np.split(u, 3, 1)

    def step(x, h):
        xz, xr, xh = np.split(x @ k + b, 3, 1)
        z, r = sigmoid(xz + h @ uz), sigmoid(xr + h @ ur)
        return (z * h + (1 - z) * np.tanh(xh + (r * h) @ uh),)

    return lambda xs: over_time(step, xs, 1)


# Flax: one Dense per gate.

def flax_lstm(w):
    k = {g: w(f"params/i{g}/kernel", INPUT, HIDDEN) for g in "ifgo"}
    u = {g: w(f"params/h{g}/kernel", HIDDEN, HIDDEN) for g in "ifgo"}
    b = {g: w(f"params/h{g}/bias", HIDDEN) for g in "ifgo"}

    def step(x, h, c):
        a = {g: x @ k[g] + (h @ u[g] + b[g]) for g in "ifgo"}
        c = sigmoid(a["f"]) * c + sigmoid(a["i"]) * np.tanh(a["g"])
        return sigmoid(a["o"]) * np.tanh(c), c

    return lambda xs: over_time(step, xs, 2)


def flax_gru(w):
    k = {g: w(f"params/i{g}/kernel", INPUT, HIDDEN) for g in "rzn"}
    b = {g: w(f"params/i{g}/bias", HIDDEN) for g in "rzn"}
    u = {g: w(f"params/h{g}/kernel", HIDDEN, HIDDEN) for g in "rzn"}
    bn = w("params/hn/bias", HIDDEN)

    def step(x, h):
        r = sigmoid(x @ k["r"] + b["r"] + h @ u["r"])
        z = sigmoid(x @ k["z"] + b["z"] + h @ u["z"])
        n = np.tanh(x @ k["n"] + b["n"] + r * (h @ u["n"] + bn))
        return ((1 - z) * n + z * h,)

    return lambda xs: over_time(step, xs, 1)


# haste: columns i, g, f, o and z, r, g.

def haste_lstm(w, normed=False):
    k, r, b = w("kernel", INPUT, 4 * HIDDEN), w("recurrent_kernel", HIDDEN, 4 * HIDDEN), w("bias", 4 * HIDDEN)
    if normed:
        gamma = w("gamma", 2, 4 * HIDDEN, shift=1.0)
        gamma_h, beta_h = w("gamma_h", HIDDEN, shift=1.0), w("beta_h", HIDDEN)

    def step(x, h, c):
        a = layer_norm(x @ k, gamma[0]) + layer_norm(h @ r, gamma[1]) if normed else x @ k + h @ r
        i, g, f, o = np.split(a + b, 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(layer_norm(c, gamma_h, beta_h) if normed else c), c

    return lambda xs: over_time(step, xs, 2)


def haste_gru(w, normed=False):
    k, u = w("kernel", INPUT, 3 * HIDDEN), w("recurrent_kernel", HIDDEN, 3 * HIDDEN)
    b, ub = w("bias", 3 * HIDDEN), w("recurrent_bias", 3 * HIDDEN)
    gamma = w("gamma", 2, 3 * HIDDEN, shift=1.0) if normed else None

    def step(x, h):
        wx, rh = (layer_norm(x @ k, gamma[0]), layer_norm(h @ u, gamma[1])) if normed else (x @ k, h @ u)
        (xz, xr, xg), (hz, hr, hg) = np.split(wx + b, 3, 1), np.split(rh + ub, 3, 1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        return (z * h + (1 - z) * np.tanh(xg + r * hg),)

    return lambda xs: over_time(step, xs, 1)


def tfa_layernorm_lstm(w):
    k, u, b = w("kernel", INPUT, 4 * HIDDEN), w("recurrent_kernel", HIDDEN, 4 * HIDDEN), w("bias", 4 * HIDDEN)
    norms = {name: (w(f"{name}/gamma", size, shift=1.0), w(f"{name}/beta", size))
             for name, size in (("kernel_norm", 4 * HIDDEN), ("recurrent_norm", 4 * HIDDEN), ("state_norm", HIDDEN))}
    norm = lambda name, v: layer_norm(v, *norms[name], eps=1e-3)

    def step(x, h, c):
        i, f, g, o = np.split(norm("kernel_norm", x @ k) + norm("recurrent_norm", h @ u) + b, 4, 1)
        c = norm("state_norm", sigmoid(f) * c + sigmoid(i) * np.tanh(g))
        return sigmoid(o) * np.tanh(c), c

    return lambda xs: over_time(step, xs, 2)


# Lasagne: one matrix per gate. Its update gate u weights the new state: h' = (1 - u) h + u c.

def lasagne_lstm(w):
    names = ("ingate", "forgetgate", "cell", "outgate")
    k, u, b = ({n: w(f"{p}{n}", *s) for n in names}
               for p, s in (("W_in_to_", (INPUT, HIDDEN)), ("W_hid_to_", (HIDDEN, HIDDEN)), ("b_", (HIDDEN,))))

    def step(x, h, c):
        i, f, g, o = (x @ k[n] + h @ u[n] + b[n] for n in names)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    return lambda xs: over_time(step, xs, 2)


def lasagne_gru(w):
    names = ("resetgate", "updategate", "hidden_update")
    k, u, b = ({n: w(f"{p}{n}", *s) for n in names}
               for p, s in (("W_in_to_", (INPUT, HIDDEN)), ("W_hid_to_", (HIDDEN, HIDDEN)), ("b_", (HIDDEN,))))

    def step(x, h):
        (xr, xu, xc), (hr, hu, hc) = ([x @ k[n] + b[n] for n in names], [h @ u[n] for n in names])
        r, update = sigmoid(xr + hr), sigmoid(xu + hu)
        return ((1 - update) * h + update * np.tanh(xc + r * hc),)

    return lambda xs: over_time(step, xs, 1)


def cudnn(mode, gates):
    """Two layers in two directions from one buffer: all matrices, then all biases; per layer and direction the input's before the recurrent one."""
    def case(w):
        sizes = [INPUT, INPUT, 2 * HIDDEN, 2 * HIDDEN]          # of the four pseudo-layers
        rows = gates * HIDDEN
        flat = w("flat", sum(rows * (size + HIDDEN) for size in sizes) + 4 * 2 * rows)
        at = 0

        def take(*shape):
            nonlocal at
            at += int(np.prod(shape))
            return flat[at - int(np.prod(shape)):at].reshape(shape)

        matrices = [(take(gates, HIDDEN, size), take(gates, HIDDEN, HIDDEN)) for size in sizes]
        biases = [(take(gates, HIDDEN), take(gates, HIDDEN)) for _ in sizes]
        assert at == flat.size

        def one(index, xs):
            (wi, wh), (bi, bh) = matrices[index], biases[index]

            def lstm(x, h, c):
                i, f, g, o = (x @ wi[n].T + bi[n] + h @ wh[n].T + bh[n] for n in range(4))
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                return sigmoid(o) * np.tanh(c), c

            def gru(x, h):
                r, z = (sigmoid(x @ wi[n].T + bi[n] + h @ wh[n].T + bh[n]) for n in range(2))
                new = np.tanh(x @ wi[2].T + bi[2] + r * (h @ wh[2].T + bh[2]))
                return ((1 - z) * new + z * h,)

            return over_time(lstm, xs, 2) if mode == "lstm" else over_time(gru, xs, 1)

        def run(xs):
            for layer in range(2):
                xs = np.concatenate([one(2 * layer, xs), one(2 * layer + 1, xs[:, ::-1])[:, ::-1]], 2)
            return xs

        return run
    return case


ARRAYS = {"keras-rnn": keras_rnn, "keras-lstm": keras_lstm, "keras-lstm-bidirectional": keras_bidirectional,
          "keras-gru": keras_gru, "keras-gru-reset-before": keras_gru_reset_before, "flax-lstm": flax_lstm,
          "flax-gru": flax_gru, "haste-lstm": haste_lstm, "haste-gru": haste_gru,
          "haste-layernorm-lstm": lambda w: haste_lstm(w, True), "haste-layernorm-gru": lambda w: haste_gru(w, True),
          "tfa-layernorm-lstm": tfa_layernorm_lstm, "lasagne-lstm": lasagne_lstm, "lasagne-gru": lasagne_gru,
          "cudnn-lstm": cudnn("lstm", 4), "cudnn-gru": cudnn("gru", 3)}


def arrays(name):
    w = Draw(name)
    run = ARRAYS[name](w)
    xs = w("xs", BATCH, TIME, INPUT)
    return {**w.arrays, "ys": run(xs)}


# Files of torch.save.

class Tagger(torch.nn.Module):
    """A module that contains a recurrent one, as usual in practice."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn, self.norm = rnn, torch.nn.BatchNorm1d(3)


def torch_case(name):
    torch.manual_seed(zlib.crc32(name.encode()))
    more = {"batch_first": True, "dtype": torch.float64}
    rnn = {"torch-rnn": lambda: torch.nn.RNN(INPUT, HIDDEN, 3, nonlinearity="relu", bias=False, **more),
           "torch-lstm": lambda: torch.nn.LSTM(INPUT, HIDDEN, 2, proj_size=2, bidirectional=True, **more),
           "torch-gru": lambda: torch.nn.GRU(INPUT, HIDDEN, 2, bidirectional=True, **more),
           "torch-parameters": lambda: torch.nn.GRU(INPUT, HIDDEN, **more),
           "torch-flattened": lambda: torch.nn.LSTM(INPUT, HIDDEN, **more),
           "torch-half": lambda: torch.nn.LSTM(INPUT, HIDDEN, **more)}[name]()
    xs = torch.randn(BATCH, TIME, INPUT, dtype=torch.float64)
    model = Tagger(rnn)
    if name == "torch-half":
        for parameter in rnn.parameters():
            parameter.data = parameter.data.half().double()
    ys = rnn(xs)[0].detach()
    state = model.state_dict()
    if name == "torch-parameters":         # pickles nn.Parameter
        state = dict(model.named_parameters())
    if name == "torch-flattened":          # views of one storage; a transposed, an expanded and a reversed-stride one too
        flat = torch.cat([value.flatten() for value in rnn.state_dict().values()])
        at = 0
        for key, value in rnn.state_dict().items():
            state[f"rnn.{key}"] = flat[at:at + value.numel()].view(value.shape)
            at += value.numel()
        state["turned"], state["wide"] = xs.transpose(0, 2), xs[:, :, :1].expand(BATCH, TIME, INPUT)
    if name == "torch-half":
        state = {key: value.half() if "rnn" in key else value for key, value in state.items()}
    return {"epoch": 3, "best": 0.25, "tags": ["a", "b"], "state_dict": state, "xs": xs, "ys": ys}


TORCH = ("torch-rnn", "torch-lstm", "torch-gru", "torch-parameters", "torch-flattened", "torch-half")


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else torch.equal(a, b) if torch.is_tensor(a) else a == b


def check():
    for name in ARRAYS:
        with np.load(HERE / f"{name}.npz") as file:
            found = {key: file[key] for key in file.files}
        made = arrays(name)
        assert found.keys() == made.keys() and all(np.allclose(found[key], made[key], 0, 1e-13) for key in made), name
    for name in TORCH:
        assert equal(torch.load(HERE / f"{name}.pt"), torch_case(name)), name
    print(f"{len(ARRAYS) + len(TORCH)} files: the same numbers")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the committed files, write nothing")
    torch.set_num_threads(1)
    if parser.parse_args().check:
        return check()
    HERE.mkdir(exist_ok=True)
    for index, name in enumerate(ARRAYS):
        made = arrays(name)
        # Every second file is compressed. Kernels of Keras are Fortran arrays, the form in which a transposed matrix is saved.
        save = np.savez if index % 2 else np.savez_compressed
        save(HERE / f"{name}.npz", **{key: np.asfortranarray(value) if "recurrent_kernel" in key else value
                                       for key, value in made.items()})
    for name in TORCH:
        torch.save(torch_case(name), HERE / f"{name}.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(torch.nn.RNN(1, 1), HERE / "refused-module.pt")                  # a whole module: its class would have to be imported
        torch.save({"a": torch.zeros(2)}, HERE / "refused-legacy.pt", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
