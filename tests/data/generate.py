#!/usr/bin/env python3
"""Reference numbers for the Rust crates: outputs, final states and every gradient, as PyTorch computes them.

    /usr/bin/python3 tests/data/generate.py            writes tests/data/*.safetensors, about 1.6 MB, in a few seconds
    /usr/bin/python3 tests/data/generate.py --check    writes nothing; checks the modules below and the committed files

The committed files were made with PyTorch 1.13.1 (Debian 12, python3-torch 1.13.1+dfsg-4, calls itself 1.13.0a0),
NumPy 1.24.2 and Python 3.11 on x86-64. Two runs on one machine give the same bytes. Inputs do not depend on the
machine or on the PyTorch version (NumPy's frozen legacy generator draws them); results may differ in the last bits.

One file holds one case in one dtype, `NAME-f32.safetensors` or `NAME-f64.safetensors`. Both are drawn in f64, then
rounded; each is computed in its own dtype. Tensors, all little-endian and contiguous:

    xs                   (batch, time, input)                  large garbage from `lengths` on
    lengths              (batch), i64                          only if the case has lengths
    h0, c0               (layers*directions, batch, hidden)    absent: the state starts at zero. c0 only where there is a c
                                                               h0, hn and ys have `proj` for hidden where options have it
    param.NAME           as torch.nn names and shapes it: param.weight_ih_l0, param.bias_hh_l1_reverse, ...
    ys                   (batch, time, directions*hidden)      zero from `lengths` on
    hn, cn               (layers*directions, batch, hidden)    the state after each example's last valid step
    loss.ys, .hn, .cn    the shapes of ys, hn, cn              weights of the loss, not zero in the padding either
    loss                 ()                                    sum(ys*loss.ys) + sum(hn*loss.hn) + sum(cn*loss.cn)
    grad.xs, grad.h0, grad.c0, grad.NAME                       gradients of loss; grad.xs is zero from `lengths` on

`__metadata__` holds the strings `torch`, `generator` and `case`, the last a JSON object: name, family, nonlinearity
(or null), layers, bidirectional, bias, batch, time, input, hidden, lengths (or null), initial_state, dtype, seed,
options. Gate orders are PyTorch's, i,f,g,o and r,z,n. No two of batch, time, input, hidden, layers*directions and
gates*hidden are equal in a case, nor is proj equal to one of them.
"""

import argparse
import json
import os
import pathlib
import struct
import zlib

# Plain instructions instead of those of this machine, so that the last bits depend less on the machine.
os.environ["ATEN_CPU_CAPABILITY"] = "default"

import numpy as np
import torch
from torch.nn.functional import layer_norm
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = pathlib.Path(__file__).resolve().parent
DTYPES = {"f32": torch.float32, "f64": torch.float64}


# Modules that torch.nn lacks, in plain autograd. x: (batch, input), h and c: (batch, hidden).

def bare_shapes(layer, gates, input, hidden):
    rows = gates * hidden
    return {f"weight_ih_l{layer}": (rows, input), f"weight_hh_l{layer}": (rows, hidden),
            f"bias_ih_l{layer}": (rows,), f"bias_hh_l{layer}": (rows,)}


def lstm_cell(m, layer, x, h, c):
    # z = W_ih x + b_ih + W_hh h + b_hh;  c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c')
    p = lambda name: getattr(m, f"{name}_l{layer}")
    z = x @ p("weight_ih").T + p("bias_ih") + h @ p("weight_hh").T + p("bias_hh")    # (batch, 4*hidden)
    i, f, g, o = z.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def over_time(step, xs, state, lengths):
    """Runs `step` from the first time step to the last. From t = length on the state stays and ys is zero."""
    ys = []
    for t in range(xs.shape[1]):
        valid = (t < lengths)[:, None]
        state = [torch.where(valid, new, old) for new, old in zip(step(xs[:, t], *state), state)]
        ys.append(state[0] * valid)
    return torch.stack(ys, 1), state


class OverTime(torch.nn.Module):
    """A single layer that runs `step` over time. Subclasses give `fields`, `gates`, `shapes` and `step`."""

    def __init__(self, input, hidden):
        super().__init__()
        self.hidden = hidden
        for name, shape in self.shapes(input, hidden).items():
            self.register_parameter(name, torch.nn.Parameter(torch.empty(shape)))

    def shapes(self, input, hidden):
        return bare_shapes(0, self.gates, input, hidden)

    def sizes(self):
        return [self.hidden] * self.fields

    def forward(self, xs, state, lengths):
        zeros = [xs.new_zeros(xs.shape[0], size) for size in self.sizes()]
        start = zeros if state is None else [part[0] for part in state]
        ys, end = over_time(self.step, xs, start, lengths)
        return ys, [part[None] for part in end]


class Normed(OverTime):
    """Normalised pre-activations: `norm` is layer or rms, `scope` whole or per-gate, as in the case's options."""

    def __init__(self, input, hidden, norm="layer", scope="whole", eps=1e-5, **_):
        self.norm, self.scope, self.eps = norm, scope, eps
        super().__init__(input, hidden)

    def shapes(self, input, hidden):
        rows = (self.gates * hidden,)
        return {**bare_shapes(0, self.gates, input, hidden), "gain_ih_l0": rows, "gain_hh_l0": rows}

    def normed(self, v, gain, bias):
        # LN(v) = (v - mean v) / sqrt(var v + eps), biased variance;  RMS(v) = v / sqrt(mean v^2 + eps)
        # over all of v, or over each gate's `hidden` values;  then gain and bias
        if (self.norm, self.scope) == ("layer", "whole"):
            return layer_norm(v, v.shape[1:], gain, bias, self.eps)
        layer = lambda v: layer_norm(v, v.shape[1:], eps=self.eps)
        rms = lambda v: v * ((v * v).mean(1, keepdim=True) + self.eps).rsqrt()
        pieces = v.split(self.hidden, 1) if self.scope == "per-gate" else [v]
        return torch.cat([{"layer": layer, "rms": rms}[self.norm](piece) for piece in pieces], 1) * gain + bias


class LayerNormLstm(Normed):
    """Ba, Kiros and Hinton 2016 (arXiv 1607.06450v1), the input and the recurrent part normalised separately."""
    fields, gates, own = 2, 4, ("gain_c", "bias_c")

    def shapes(self, input, hidden):
        return {**super().shapes(input, hidden), **{f"{name}_l0": (hidden,) for name in self.own}}

    def memory(self, x, h, c):
        # z  = LN(W_ih x) gain_ih + bias_ih + LN(W_hh h) gain_hh + bias_hh         m = sigmoid(f) c + sigmoid(i) tanh(g)
        z = self.normed(x @ self.weight_ih_l0.T, self.gain_ih_l0, self.bias_ih_l0)
        z = z + self.normed(h @ self.weight_hh_l0.T, self.gain_hh_l0, self.bias_hh_l0)
        return self.gated(z, c)

    def gated(self, z, c):
        i, f, g, o = z.chunk(4, 1)
        return f.sigmoid() * c + i.sigmoid() * g.tanh(), o.sigmoid()

    def step(self, x, h, c):
        # c' = m                                                    carried without normalisation
        # h' = sigmoid(o) tanh(LN(c') gain_c + bias_c)
        c, o = self.memory(x, h, c)
        return o * self.normed(c, self.gain_c_l0, self.bias_c_l0).tanh(), c


class LayerNormLstmPyTorch(LayerNormLstm):
    """LayerNormLSTMCell of PyTorch's benchmarks/fastrnns/custom_lstms.py: c is carried normalised."""

    def step(self, x, h, c):
        # c' = LN(m) gain_c + bias_c;  h' = sigmoid(o) tanh(c')
        m, o = self.memory(x, h, c)
        c = self.normed(m, self.gain_c_l0, self.bias_c_l0)
        return o * c.tanh(), c


class LayerNormLstmTfa(LayerNormLstmPyTorch):
    """LayerNormLSTMCell of TensorFlow Addons: the same with a bias beside those of the norms. Its eps is 1e-3."""

    def shapes(self, input, hidden):
        return {**super().shapes(input, hidden), "bias_l0": (4 * hidden,)}

    def gated(self, z, c):
        return super().gated(z + self.bias_l0, c)


class LayerNormLstmBurn(LayerNormLstm):
    """burn's examples/modern-lstm: W_ih x is normalised, W_hh h is not; c and h are carried normalised."""
    own = ("gain_c", "bias_c", "gain_h", "bias_h")

    def shapes(self, input, hidden):
        shapes = {**super().shapes(input, hidden), "bias_inside_l0": (4 * hidden,)}
        return {name: shape for name, shape in shapes.items() if name != "gain_hh_l0"}

    def step(self, x, h, c):
        # z  = LN(W_ih x + bias_inside) gain_ih + bias_ih + W_hh h + bias_hh
        # c' = LN(m) gain_c + bias_c;  h' = LN(sigmoid(o) tanh(c')) gain_h + bias_h
        z = self.normed(x @ self.weight_ih_l0.T + self.bias_inside_l0, self.gain_ih_l0, self.bias_ih_l0)
        m, o = self.gated(z + h @ self.weight_hh_l0.T + self.bias_hh_l0, c)
        c = self.normed(m, self.gain_c_l0, self.bias_c_l0)
        return self.normed(o * c.tanh(), self.gain_h_l0, self.bias_h_l0), c


class LayerNormGru(Normed):
    """The same placement in a GRU of PyTorch's convention: z keeps the old state, reset after the matmul."""
    fields, gates = 1, 3

    def step(self, x, h):
        # a = LN(W_ih x) gain_ih + bias_ih;  b = LN(W_hh h) gain_hh + bias_hh           each LN over 3*hidden values
        # r = sigmoid(a_r + b_r);  z = sigmoid(a_z + b_z);  n = tanh(a_n + r b_n);  h' = (1 - z) n + z h
        a = self.normed(x @ self.weight_ih_l0.T, self.gain_ih_l0, self.bias_ih_l0)
        b = self.normed(h @ self.weight_hh_l0.T, self.gain_hh_l0, self.bias_hh_l0)
        (ar, az, an), (br, bz, bn) = a.chunk(3, 1), b.chunk(3, 1)
        r, z = (ar + br).sigmoid(), (az + bz).sigmoid()
        return ((1 - z) * (an + r * bn).tanh() + z * h,)


class LayerNormVanilla(Normed):
    """Ba, Kiros and Hinton 2016, eq. 4: the sum of both parts is normalised."""
    fields, gates = 1, 1

    def __init__(self, input, hidden, nonlinearity, **options):
        super().__init__(input, hidden, **options)
        self.phi = {"tanh": torch.tanh, "relu": torch.relu}[nonlinearity]

    def shapes(self, input, hidden):
        return {**bare_shapes(0, 1, input, hidden), "gain_l0": (hidden,)}

    def step(self, x, h):
        # h' = phi(LN(W_ih x + W_hh h) gain + bias_ih + bias_hh)
        a = x @ self.weight_ih_l0.T + h @ self.weight_hh_l0.T
        return (self.phi(self.normed(a, self.gain_l0, self.bias_ih_l0) + self.bias_hh_l0),)


class LayerNormVanillaApart(LayerNormVanilla):
    """The same with each part normalised on its own."""
    shapes = Normed.shapes

    def step(self, x, h):
        # h' = phi(LN(W_ih x) gain_ih + bias_ih + LN(W_hh h) gain_hh + bias_hh)
        a = self.normed(x @ self.weight_ih_l0.T, self.gain_ih_l0, self.bias_ih_l0)
        return (self.phi(a + self.normed(h @ self.weight_hh_l0.T, self.gain_hh_l0, self.bias_hh_l0)),)


class ResidualTimeTanh(OverTime):
    """h' = h + 0.3 tanh(W_ih x + b_ih + W_hh h + b_hh)"""
    fields, gates, alpha = 1, 1, 0.3

    def step(self, x, h):
        z = x @ self.weight_ih_l0.T + self.bias_ih_l0 + h @ self.weight_hh_l0.T + self.bias_hh_l0
        return (h + self.alpha * z.tanh(),)


class ResidualTimeLstm(OverTime):
    """(f, c') = LSTM(x, (h, c));  h' = h + 0.3 f"""
    fields, gates, alpha = 2, 4, 0.3

    def step(self, x, h, c):
        f, c = lstm_cell(self, 0, x, h, c)
        return h + self.alpha * f, c


class LstmPeephole(OverTime):
    """Gers, Schraudolph and Schmidhuber 2002: i and f see the old cell state, o the new one."""
    fields, gates = 2, 4

    def shapes(self, input, hidden):
        return {**bare_shapes(0, 4, input, hidden), **{f"weight_c{gate}_l0": (hidden,) for gate in "ifo"}}

    def step(self, x, h, c):
        z = x @ self.weight_ih_l0.T + self.bias_ih_l0 + h @ self.weight_hh_l0.T + self.bias_hh_l0
        i, f, g, o = z.chunk(4, 1)
        i, f = (i + self.weight_ci_l0 * c).sigmoid(), (f + self.weight_cf_l0 * c).sigmoid()
        c = f * c + i * g.tanh()
        return (o + self.weight_co_l0 * c).sigmoid() * c.tanh(), c


class LstmCoupled(OverTime):
    """Greff et al. 2017 (arXiv 1503.04069), CIFG: c' = f c + (1 - f) tanh(g). The rows are f, g, o."""
    fields, gates = 2, 3

    def step(self, x, h, c):
        z = x @ self.weight_ih_l0.T + self.bias_ih_l0 + h @ self.weight_hh_l0.T + self.bias_hh_l0
        f, g, o = z.chunk(3, 1)
        c = f.sigmoid() * c + (1 - f.sigmoid()) * g.tanh()
        return o.sigmoid() * c.tanh(), c


class LstmCoupledPeepholeProj(OverTime):
    """The coupled gate with peepholes, and Sak, Senior and Beaufays 2014 (arXiv 1402.1128): h' = W_hr (o tanh(c'))."""
    fields, gates, proj = 2, 3, 4

    def shapes(self, input, hidden):
        return {**bare_shapes(0, 3, input, hidden), "weight_hh_l0": (3 * hidden, self.proj),
                "weight_hr_l0": (self.proj, hidden), "weight_cf_l0": (hidden,), "weight_co_l0": (hidden,)}

    def sizes(self):
        return [self.proj, self.hidden]

    def step(self, x, h, c):
        z = x @ self.weight_ih_l0.T + self.bias_ih_l0 + h @ self.weight_hh_l0.T + self.bias_hh_l0
        f, g, o = z.chunk(3, 1)
        f = (f + self.weight_cf_l0 * c).sigmoid()
        c = f * c + (1 - f) * g.tanh()
        return ((o + self.weight_co_l0 * c).sigmoid() * c.tanh()) @ self.weight_hr_l0.T, c


class GruResetBefore(OverTime):
    """Cho et al. 2014, third version (arXiv 1406.1078v3): the reset gate before the matrix product."""
    fields, gates = 1, 3

    def step(self, x, h):
        a, (wr, wz, wn) = x @ self.weight_ih_l0.T + self.bias_ih_l0, self.weight_hh_l0.chunk(3)
        (ar, az, an), (br, bz, bn) = a.chunk(3, 1), self.bias_hh_l0.chunk(3)
        r, z = (ar + h @ wr.T + br).sigmoid(), (az + h @ wz.T + bz).sigmoid()
        return ((1 - z) * (an + (r * h) @ wn.T + bn).tanh() + z * h,)


class DepthLstm(torch.nn.Module):
    """y1 = join(LSTM1(xs), P xs);  ys = join(LSTM2(y1), y1). The states are those of the LSTMs, whatever surrounds them."""
    fields, gates = 2, 4

    def __init__(self, input, hidden):
        super().__init__()
        for name, shape in {**bare_shapes(0, 4, input, hidden), **bare_shapes(1, 4, hidden, hidden)}.items():
            self.register_parameter(name, torch.nn.Parameter(torch.empty(shape)))
        for name, shape in {"proj.weight_l0": (hidden, input), **self.shapes(input, hidden)}.items():
            under, name = name.split(".")
            if not hasattr(self, under):
                self.add_module(under, torch.nn.Module())
            getattr(self, under).register_parameter(name, torch.nn.Parameter(torch.empty(shape)))

    def shapes(self, input, hidden):
        return {}

    def forward(self, xs, state, lengths):
        (h1, h2), (c1, c2) = state
        y1, (h1, c1) = over_time(lambda x, h, c: lstm_cell(self, 0, x, h, c), xs, (h1, c1), lengths)
        y1 = self.join(0, y1, xs, xs @ self.proj.weight_l0.T)
        y2, (h2, c2) = over_time(lambda x, h, c: lstm_cell(self, 1, x, h, c), y1, (h2, c2), lengths)
        valid = torch.arange(xs.shape[1])[:, None] < lengths[:, None, None]    # (batch, time, 1)
        return self.join(1, y2, y1, y1) * valid, [torch.stack((h1, h2)), torch.stack((c1, c2))]


class ResidualDepthLstm(DepthLstm):
    """join(y, around) = y + around"""

    def join(self, layer, y, x, around):
        return y + around


class HighwayDepthLstm(DepthLstm):
    """join(y, around) = t y + (1 - t) around with t = sigmoid(W_t x + b_t), x what goes into the layer"""

    def shapes(self, input, hidden):
        return {"transform.weight_l0": (hidden, input), "transform.bias_l0": (hidden,),
                "transform.weight_l1": (hidden, hidden), "transform.bias_l1": (hidden,)}

    def join(self, layer, y, x, around):
        weight, bias = (getattr(self.transform, f"{name}_l{layer}") for name in ("weight", "bias"))
        t = (x @ weight.T + bias).sigmoid()
        return t * y + (1 - t) * around


class ReZeroDepthLstm(DepthLstm):
    """join(y, around) = around + alpha y"""

    def shapes(self, input, hidden):
        return {"rezero.alpha_l0": (1,), "rezero.alpha_l1": (1,)}

    def join(self, layer, y, x, around):
        return around + getattr(self.rezero, f"alpha_l{layer}") * y


class KimResidualLstm(torch.nn.Module):
    """Kim, El-Khamy and Lee 2017 (arXiv 1701.03360) without peepholes, two layers: the second has the identity for W_h."""
    fields, gates = 2, 4

    def __init__(self, input, hidden):
        super().__init__()
        shapes = {**bare_shapes(0, 4, input, hidden), **bare_shapes(1, 4, hidden, hidden),
                  "weight_projection_l0": (hidden, hidden), "weight_projection_l1": (hidden, hidden),
                  "weight_shortcut_l0": (hidden, input)}
        for name, shape in shapes.items():
            self.register_parameter(name, torch.nn.Parameter(torch.empty(shape)))

    def step(self, layer, x, h, c):
        # the gates and c' of an LSTM;  m = W_p tanh(c');  h' = sigmoid(o) (m + W_h x)
        p = lambda name: getattr(self, f"{name}_l{layer}")
        z = x @ p("weight_ih").T + p("bias_ih") + h @ p("weight_hh").T + p("bias_hh")    # (batch, 4*hidden)
        i, f, g, o = z.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        around = x @ p("weight_shortcut").T if layer == 0 else x
        return o.sigmoid() * (c.tanh() @ p("weight_projection").T + around), c

    def forward(self, xs, state, lengths):
        ends = []
        for layer, start in enumerate(zip(*state)):
            xs, end = over_time(lambda x, h, c: self.step(layer, x, h, c), xs, start, lengths)
            ends.append(end)
        return xs, [torch.stack(part) for part in zip(*ends)]


# Cases.

OWN = {"layernorm-lstm": LayerNormLstm, "layernorm-gru": LayerNormGru, "layernorm-vanilla": LayerNormVanilla,
       "residual-time-tanh": ResidualTimeTanh, "residual-time-lstm": ResidualTimeLstm,
       "residual-depth-lstm": ResidualDepthLstm, "highway-depth-lstm": HighwayDepthLstm,
       "rezero-depth-lstm": ReZeroDepthLstm, "kim-residual-lstm": KimResidualLstm,
       "lstm-peephole": LstmPeephole, "lstm-coupled": LstmCoupled,
       "lstm-coupled-peephole-proj": LstmCoupledPeepholeProj, "gru-reset-before": GruResetBefore}
PLACED = {"pytorch-script": LayerNormLstmPyTorch, "tf-addons": LayerNormLstmTfa, "burn": LayerNormLstmBurn,
          "separate": LayerNormVanillaApart}    # by the options `placement` and `norm_input`
NORMED = ("layernorm-lstm", "layernorm-gru", "layernorm-vanilla")
BARE = {"vanilla": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
GATES = {"vanilla": 1, "lstm": 4, "gru": 3}
TWO_FIELDS = ("lstm", "layernorm-lstm", "residual-time-lstm", "residual-depth-lstm", "highway-depth-lstm",
              "rezero-depth-lstm", "kim-residual-lstm", "lstm-peephole", "lstm-coupled", "lstm-coupled-peephole-proj")
LAYER_NORM = {"eps": 1e-5, "normalised_over": "all gates, input and recurrent part apart"}
OPTIONS = {"layernorm-lstm": {**LAYER_NORM, "cell": "inside the output only"}, "layernorm-gru": LAYER_NORM,
           "layernorm-vanilla": {"eps": 1e-5},
           "residual-time-tanh": {"alpha": 0.3}, "residual-time-lstm": {"alpha": 0.3},
           "residual-depth-lstm": {"projection": "proj.weight_l0"}, "kim-residual-lstm": {"peepholes": False},
           "lstm-coupled-peephole-proj": {"proj": LstmCoupledPeepholeProj.proj}}
THREE_LAYERS = {"layers": 3, "batch": 4}                                    # the batch of 3 would equal the layers
WIDE = {"batch": 5, "time": 11, "input": 9, "hidden": 17}                   # one more than two vectors of 8
DEEP_BOTH_WAYS = {"layers": 2, "bidirectional": True}


def case(suffix, family, **given):
    name = f"{family}-{suffix}" if suffix else family
    made = {"name": name, "family": family, "nonlinearity": None, "layers": 1, "bidirectional": False, "bias": True,
            "batch": 3, "time": 7, "input": 5, "hidden": 6, "lengths": None, "initial_state": True,
            "options": OPTIONS.get(family, {}), "seed": zlib.crc32(name.encode()), **given}
    directions = 1 + made["bidirectional"]
    gates = GATES[family] if family in BARE else OWN[family].gates
    axes = [made[axis] for axis in ("batch", "time", "input", "hidden")] + [made["layers"] * directions]
    axes += [gates * made["hidden"]] * (gates > 1) + [2 * made["hidden"]] * (directions > 1)
    if proj := made["options"].get("proj"):
        axes += [proj] + [2 * proj] * (directions > 1)
    assert len(set(axes)) == len(axes), f"{name}: two axes are equal: {axes}"
    return made


def normed(suffix, family, nonlinearity=None, lengths=None, initial_state=True, eps=1e-5, **options):
    """A case of a normalised family; further arguments are the options of its configuration."""
    return case(suffix, family, nonlinearity=nonlinearity, lengths=lengths, initial_state=initial_state,
                options={"eps": eps, **options})


CASES = [
    case("tanh-1layer", "vanilla", nonlinearity="tanh"),
    case("tanh-2layers-bidirectional-lengths", "vanilla", nonlinearity="tanh", lengths=[2, 7, 4], initial_state=False,
         **DEEP_BOTH_WAYS),
    case("tanh-1layer-hidden17", "vanilla", nonlinearity="tanh", **WIDE),
    case("relu-1layer", "vanilla", nonlinearity="relu"),
    case("1layer", "lstm"),
    case("1layer-lengths", "lstm", lengths=[4, 7, 1]),
    case("3layers", "lstm", **THREE_LAYERS),
    case("2layers-bidirectional-lengths", "lstm", lengths=[5, 2, 7], **DEEP_BOTH_WAYS),
    case("1layer-nobias", "lstm", bias=False, initial_state=False),
    case("1layer-hidden17", "lstm", **WIDE),
    case("1layer", "gru"),
    case("3layers", "gru", **THREE_LAYERS),
    case("2layers-bidirectional-lengths", "gru", lengths=[4, 6, 1], **DEEP_BOTH_WAYS),    # no example fills step 7
    case("1layer-nobias", "gru", bias=False, initial_state=False),
    case("1layer-hidden17", "gru", **WIDE),
    case("", "layernorm-lstm"),
    case("lengths", "layernorm-lstm", lengths=[4, 7, 1]),
    case("zerostart", "layernorm-lstm", initial_state=False),    # the first W_hh h has no variance at all
    case("hidden17", "layernorm-lstm", **WIDE),
    case("", "layernorm-gru"),
    case("hidden17", "layernorm-gru", **WIDE),
    normed("pytorch", "layernorm-lstm", placement="pytorch-script"),
    normed("tfa", "layernorm-lstm", placement="tf-addons", eps=1e-3),
    normed("burn", "layernorm-lstm", placement="burn"),
    normed("burn-lengths", "layernorm-lstm", placement="burn", lengths=[4, 7, 1]),
    normed("burn-rms-per-gate", "layernorm-lstm", placement="burn", norm="rms", scope="per-gate"),
    normed("pytorch-zerostart", "layernorm-lstm", placement="pytorch-script", initial_state=False),
    normed("rms", "layernorm-lstm", norm="rms"),
    normed("per-gate", "layernorm-lstm", scope="per-gate"),
    normed("rms", "layernorm-gru", norm="rms"),
    normed("per-gate", "layernorm-gru", scope="per-gate"),
    normed("tanh", "layernorm-vanilla", nonlinearity="tanh"),
    normed("tanh-apart", "layernorm-vanilla", nonlinearity="tanh", norm_input="separate"),
    normed("relu-rms-lengths", "layernorm-vanilla", nonlinearity="relu", norm="rms", lengths=[4, 7, 1]),
    case("", "residual-time-tanh"),
    case("", "residual-time-lstm"),
    case("lengths", "residual-time-lstm", lengths=[4, 7, 1]),
    case("", "residual-depth-lstm", layers=2),
    case("lengths", "residual-depth-lstm", layers=2, lengths=[5, 7, 1]),    # P xs is garbage where ys must be zero
    case("proj-1layer", "lstm", options={"proj": 4}),
    case("proj-1layer-nobias", "lstm", options={"proj": 4}, bias=False, initial_state=False),
    case("proj-2layers-bidirectional-lengths", "lstm", options={"proj": 5}, hidden=8, input=6, batch=3, time=9,
         lengths=[5, 2, 9], **DEEP_BOTH_WAYS),
    case("", "lstm-peephole"),
    case("lengths", "lstm-peephole", lengths=[4, 7, 1]),
    case("", "lstm-coupled"),
    case("", "lstm-coupled-peephole-proj"),
    case("lengths", "lstm-coupled-peephole-proj", lengths=[4, 7, 1], initial_state=False),
    case("", "gru-reset-before"),
    case("lengths", "gru-reset-before", lengths=[4, 7, 1]),
    case("hidden17", "gru-reset-before", **WIDE),
    *(case(suffix, family, layers=2, lengths=lengths)
      for family in ("highway-depth-lstm", "rezero-depth-lstm", "kim-residual-lstm")
      for suffix, lengths in (("", None), ("lengths", [5, 7, 1]))),
]


# From a case to its tensors.

def build(case, dtype):
    """The case's module and its inputs `xs`, `h0`, `c0`, `lengths`, `loss.*`, all drawn from its seed."""
    normal = np.random.RandomState(case["seed"]).standard_normal
    draw = lambda shape, scale=1.0, shift=0.0: torch.from_numpy(shift + scale * normal(shape)).to(dtype)
    family, input, hidden = case["family"], case["input"], case["hidden"]
    if family in BARE:
        more = {"nonlinearity": case["nonlinearity"]} if case["nonlinearity"] else {}
        more.update({"proj_size": case["options"]["proj"]} if "proj" in case["options"] else {})
        module = BARE[family](input, hidden, case["layers"], bias=case["bias"], batch_first=True,
                              bidirectional=case["bidirectional"], **more)
    elif family in NORMED:
        options = dict(case["options"])
        made = PLACED.get(options.pop("placement", options.pop("norm_input", None)), OWN[family])
        more = {"nonlinearity": case["nonlinearity"]} if case["nonlinearity"] else {}
        module = made(input, hidden, **more, **options)
    else:
        module = OWN[family](input, hidden)
    for name, parameter in module.named_parameters():
        if parameter.ndim == 2:
            parameter.data = draw(parameter.shape, parameter.shape[1] ** -0.5)
        else:
            parameter.data = draw(parameter.shape, 0.3, 1.0 if "gain" in name else 0.0)
    batch, time, directions = case["batch"], case["time"], 1 + case["bidirectional"]
    output = case["options"].get("proj", hidden)
    letters = {"h": output, "c": hidden} if family in TWO_FIELDS else {"h": output}
    tensors = {"xs": draw((batch, time, input))}
    if case["lengths"]:
        tensors["lengths"] = torch.tensor(case["lengths"])
        noise = draw((batch, time, input))
        padding = torch.arange(time) >= tensors["lengths"][:, None]
        tensors["xs"][padding] = (1e3 * noise.sign() + 5e2 * noise)[padding]
    for letter, size in letters.items():
        state_shape = (case["layers"] * directions, batch, size)
        if case["initial_state"]:
            tensors[f"{letter}0"] = draw(state_shape)
        tensors[f"loss.{letter}n"] = draw(state_shape)
    tensors["loss.ys"] = draw((batch, time, directions * output))
    return module, tensors


def run(module, xs, state, lengths):
    """ys and the final states of any module in this file. `state` and `lengths` may be None."""
    full = torch.full((xs.shape[0],), xs.shape[1])
    if not isinstance(module, torch.nn.RNNBase):
        return module(xs, state, full if lengths is None else lengths)
    packed = xs if lengths is None else pack_padded_sequence(xs, lengths, batch_first=True, enforce_sorted=False)
    ys, end = module(packed, tuple(state) if state and len(state) == 2 else state[0] if state else None)
    if lengths is not None:
        ys, _ = pad_packed_sequence(ys, batch_first=True, total_length=xs.shape[1])
    return ys, list(end) if isinstance(end, tuple) else [end]


def initial(tensors):
    return [tensors[name] for name in ("h0", "c0") if name in tensors] or None


def compute(case, dtype):
    """Every tensor of the case's file."""
    module, tensors = build(case, dtype)
    leaves = {name: tensors[name].requires_grad_() for name in ("xs", "h0", "c0") if name in tensors}
    leaves.update(module.named_parameters())
    ys, end = run(module, tensors["xs"], initial(tensors), tensors.get("lengths"))
    results = dict(zip(("ys", "hn", "cn"), (ys, *end)))
    loss = sum((value * tensors[f"loss.{name}"]).sum() for name, value in results.items())
    loss.backward()
    tensors.update(results, loss=loss)
    tensors.update((f"param.{name}", value) for name, value in module.named_parameters())
    tensors.update((f"grad.{name}", value.grad) for name, value in leaves.items())
    if case["lengths"]:
        padding = torch.arange(case["time"]) >= tensors["lengths"][:, None]
        for name in ("ys", "grad.xs"):
            assert not tensors[name][padding].any(), f"{case['name']}: {name} is not zero in the padding"
        assert tensors["xs"][padding].abs().min() >= 1e3 and tensors["loss.ys"][padding].all()
    for name, value in tensors.items():
        assert value.isfinite().all(), f"{case['name']}: {name} is not finite"
        assert value.any(), f"{case['name']}: {name} is zero and would test nothing"
    return {name: value.detach().numpy() for name, value in tensors.items()}


def encode(case, dtype_name, arrays):
    """A safetensors file: u64 length of the header, JSON header padded to 8 bytes, data. Wide items come first."""
    described = {**case, "dtype": dtype_name}
    header = {"__metadata__": {"case": json.dumps(described, sort_keys=True), "generator": "tests/data/generate.py",
                               "torch": torch.__version__}}
    data = b""
    for name in sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)):
        array = np.ascontiguousarray(arrays[name])
        kind = {"f4": "F32", "f8": "F64", "i8": "I64"}[array.dtype.str[1:]]
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kind, "shape": list(arrays[name].shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def files():
    """(path, bytes) of every file, after comparing the two dtypes of each case with each other."""
    for case in CASES:
        arrays = {name: compute(case, dtype) for name, dtype in DTYPES.items()}
        for name, exact in arrays["f64"].items():
            error = np.abs(arrays["f32"][name] - exact).max()
            assert error <= 2e-5 * max(1.0, np.abs(exact).max()), f"{case['name']}: f32 {name} is off by {error:.1e}"
        for dtype_name in DTYPES:
            path = HERE / f"{case['name']}-{dtype_name}.safetensors"
            yield path, encode(case, dtype_name, arrays[dtype_name])


# Checks of the modules written here by hand, and of the committed files.

def check_alone(case):
    """Each example alone, cut to its length, gives the same ys and final states as in the padded batch."""
    module, tensors = build(case, torch.float64)
    state, lengths = initial(tensors), tensors.get("lengths", torch.full((case["batch"],), case["time"]))
    with torch.no_grad():
        ys, end = run(module, tensors["xs"], state, tensors.get("lengths"))
        for example, length in enumerate(lengths.tolist()):
            one = slice(example, example + 1)
            start = state and [part[:, one].contiguous() for part in state]
            alone, alone_end = run(module, tensors["xs"][one, :length], start, None)
            torch.testing.assert_close(alone, ys[one, :length], rtol=0, atol=1e-12)
            for part, whole in zip(alone_end, end):
                torch.testing.assert_close(part, whole[:, one], rtol=0, atol=1e-12)


def check_gradients(case):
    """Finite differences of ys and the final states by every parameter, by the initial state and by valid xs."""
    module, tensors = build(case, torch.float64)
    lengths, state = tensors.get("lengths"), initial(tensors)
    leaves = [*module.parameters(), *(part.requires_grad_() for part in state or [])]
    if lengths is None:
        leaves.append(tensors["xs"].requires_grad_())

    def outputs(*_):    # gradcheck changes the leaves in place, so the module sees its changes
        ys, end = run(module, tensors["xs"], state, lengths)
        return (ys, *end)

    assert torch.autograd.gradcheck(outputs, tuple(leaves), eps=1e-6, atol=1e-6, rtol=1e-4)


def check():
    for case in CASES:
        check_alone(case)
        if case["family"] in OWN and case["hidden"] < 17:
            check_gradients(case)
        print(f"{case['name']}: ok")
    expected = dict(files())
    assert set(expected) == set(HERE.glob("*.safetensors")), "files on disk and cases differ"
    different = [path.name for path, content in expected.items() if path.read_bytes() != content]
    assert not different, f"not the bytes on disk (expected on another machine or version of PyTorch): {different}"
    print(f"{len(expected)} files: the same bytes")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--check", action="store_true", help="check modules and committed files, write nothing")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if arguments.parse_args().check:
        return check()
    total = 0
    for path, content in files():
        path.write_bytes(content)
        total += len(content)
        print(f"{len(content):7} {path.name}")
    print(f"{total:7} bytes in all")


if __name__ == "__main__":
    main()
