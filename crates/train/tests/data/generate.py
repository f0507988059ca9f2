"""Writes pytorch.json: what PyTorch's optimisers do to a fixed problem, in f64.

    python3 crates/train/tests/data/generate.py > crates/train/tests/data/pytorch.json

The problem is a quadratic with coupled parameters: 0.5 * sum(scale * (p - target)^2) over all tensors, plus
0.05 * (sum of all elements)^2. No random numbers are drawn; every start value is a short binary fraction.
"""

import json
import platform

import torch

SHAPES = {"a.weight": (2, 3), "a.bias": (4,), "b.weight": (1, 5), "b.scale": ()}
RECORDED = [1, 2, 5, 20]


def ramp(shape, factor, offset):
    count = max(1, torch.Size(shape).numel())
    values = [((factor * k + offset) % 23 - 11) / 8 for k in range(count)]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


PROBLEM = {
    name: {
        "shape": list(shape),
        "start": ramp(shape, 7, 3 + i),
        "target": ramp(shape, 5, 9 + 2 * i),
        "scale": ramp(shape, 3, i).abs() + 0.125,
    }
    for i, (name, shape) in enumerate(SHAPES.items())
}


def start():
    return {name: part["start"].clone().requires_grad_(True) for name, part in PROBLEM.items()}


def loss_of(params):
    loss = 0.0
    total = 0.0
    for name, p in params.items():
        part = PROBLEM[name]
        loss = loss + 0.5 * (part["scale"] * (p - part["target"]) ** 2).sum()
        total = total + p.sum()
    return loss + 0.05 * total**2


def flat(tensors):
    return {name: t.detach().reshape(-1).tolist() for name, t in tensors.items()}


def run(optimizer_class, settings, bias_group=None, clip=None):
    params = start()
    if bias_group is None:
        groups = [{"params": list(params.values())}]
    else:
        biases = [p for name, p in params.items() if name.endswith("bias")]
        others = [p for name, p in params.items() if not name.endswith("bias")]
        special = {"params": biases, "weight_decay": bias_group["weight_decay"]}
        special["lr"] = settings["lr"] * bias_group["lr_scale"]
        groups = [{"params": others}, special]
    optimizer = optimizer_class(groups, **settings)
    steps, norms = [], []
    for step in range(1, 21):
        optimizer.zero_grad()
        loss = loss_of(params)
        loss.backward()
        if clip is not None:
            norms.append(torch.nn.utils.clip_grad_norm_(list(params.values()), clip).item())
        optimizer.step()
        if step in RECORDED:
            steps.append({"step": step, "loss": loss.item(), "params": flat(params)})
    state = {
        f"{name}.{key}": value.reshape(-1).tolist()
        for name, p in params.items()
        for key, value in optimizer.state[p].items()
        if key != "step" and torch.is_tensor(value)
    }
    return {"settings": settings, "bias_group": bias_group, "clip": clip, "norms": norms, "steps": steps, "state": state}


ADAMW, SGD = torch.optim.AdamW, torch.optim.SGD
BIAS = {"weight_decay": 0.0, "lr_scale": 0.25}
CASES = {
    "adamw": run(ADAMW, {"lr": 0.05, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}),
    "adamw-decay": run(ADAMW, {"lr": 0.03, "betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.1}),
    "adamw-groups": run(ADAMW, {"lr": 0.03, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1}, BIAS),
    "sgd": run(SGD, {"lr": 0.05, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}),
    "sgd-decay": run(SGD, {"lr": 0.05, "momentum": 0.0, "nesterov": False, "weight_decay": 0.2}),
    "sgd-momentum": run(SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0}),
    "sgd-momentum-decay": run(SGD, {"lr": 0.02, "momentum": 0.7, "nesterov": False, "weight_decay": 0.2}),
    "sgd-nesterov": run(SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}),
    "sgd-groups": run(SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}, BIAS),
    "sgd-clip": run(SGD, {"lr": 0.2, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}, clip=1.5),
}

if __name__ == "__main__":
    # the optimisers agree with their siblings, so that the file speaks for both
    plain = run(torch.optim.Adam, {"lr": 0.05, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0})
    assert plain["steps"] == CASES["adamw"]["steps"]
    problem = {
        name: {key: v.reshape(-1).tolist() if torch.is_tensor(v) else v for key, v in part.items()}
        for name, part in PROBLEM.items()
    }
    made_by = {"script": "generate.py", "torch": torch.__version__, "python": platform.python_version()}
    lines = [f'"made_by": {json.dumps(made_by)}', f'"problem": {json.dumps(problem)}']
    cases = ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in CASES.items())
    print("{" + ",\n".join(lines) + ',\n"cases": {\n' + cases + "\n}}")
