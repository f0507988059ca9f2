#!/usr/bin/env python3
"""Times the layers of this workspace, of candle-nn and of PyTorch in turns, and prints the times side by side.

    python3 benches/pytorch.py                              everything, a quarter of an hour on two cores
    python3 benches/pytorch.py --quick --threads 1          a first look, a minute
    python3 benches/pytorch.py --families lstm --shapes 100x32x64x128,784x32x1x128 --markdown table.md

Needs Rust and, as the only package, PyTorch (`pip install torch`). The script builds `benches/timing.rs` and starts it once for
each number of threads; the other sides never run while one of them is timed. It times, in f32 on the CPU:

    forward   the outputs (batch, time, hidden), nothing kept: PyTorch under `torch.no_grad()`, the Rust side with weights that
              are not variables
    train     gradients set to None, the outputs, the mean of their squares, the gradients of all weights, but not of the input.
              On the Rust side dropping the graph and the gradients counts, as PyTorch frees its own within the same step

All take an input (batch, time, input), for PyTorch `batch_first=True`, start from a zero state, and have both biases. PyTorch runs
with `torch.set_num_threads(n)`, the Rust side in a rayon pool of n threads with RAYON_NUM_THREADS=n. Each measurement is one turn of
every side. It is repeated, each time with another side first. A turn is a warm-up run, then runs for some tenths of a second, at
least one; its result is their median. The table has the median over the turns, the quotients of these medians, and in brackets the
lowest and the highest quotient of a single repetition: their distance shows how much the machine was disturbed. A quotient above 1
means that this workspace is faster. candle-nn has LSTM and GRU of one layer, PyTorch has no layer-normed LSTM.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Callable, Iterable

try:
    warnings.filterwarnings("ignore", message="Failed to initialize NumPy")  # which is not needed
    import torch
except ModuleNotFoundError:
    sys.exit("benches/pytorch.py needs PyTorch: pip install torch")

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "vanilla": torch.nn.RNN, "layernorm-lstm": None}
MODES = ["forward", "train"]
SHAPES = ["100x32x64x128", "784x32x1x128", "200x64x128x256", "1000x1x16x64", "50x128x256x512"]
QUICK_SHAPES = ["100x32x64x128", "784x32x1x128", "1000x1x16x64"]
SIDES = ["PyTorch", "recurrent", "candle-nn"]


@dataclass(frozen=True)
class Case:
    family: str
    mode: str
    shape: str  # TIMExBATCHxINPUTxHIDDEN
    layers: int
    threads: int

    @property
    def sizes(self) -> list[int]:
        return [int(size) for size in self.shape.split("x")]

    def sides(self) -> list[str]:
        has = {
            "PyTorch": FAMILIES[self.family] is not None,
            "recurrent": True,
            "candle-nn": self.family in ("lstm", "gru") and self.layers == 1,
        }
        return [side for side in SIDES if has[side]]


@dataclass
class Row:
    case: Case
    turns: dict[str, list[float]] = field(default_factory=dict)  # milliseconds by side

    def time(self, side: str) -> float | None:
        return median(self.turns[side]) if side in self.turns else None

    def ratio(self, side: str) -> float | None:
        """How many times as long as ours the side took."""
        return median(self.turns[side]) / median(self.turns["recurrent"]) if side in self.turns else None

    def range(self, side: str) -> tuple[float, float]:
        """The lowest and the highest ratio of a single repetition."""
        ratios = [other / ours for other, ours in zip(self.turns[side], self.turns["recurrent"])]
        return min(ratios), max(ratios)


class Rust:
    """`benches/timing.rs` as a child that answers questions, with this number of threads."""

    def __init__(self, program: str, threads: int):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "CANDLE_NUM_THREADS": str(threads)}
        self.child = subprocess.Popen(
            [program, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        words = self._answer().split()
        self.facts = dict(word.split("=", 1) for word in words[1:])
        if self.facts["threads"] != str(threads):
            sys.exit(f"the Rust side has {self.facts['threads']} threads instead of {threads}")

    def _answer(self) -> str:
        line = self.child.stdout.readline()
        if not line:
            sys.exit(f"the Rust side ended with exit status {self.child.wait()}")
        return line

    def turn(self, side: str, case: Case, seconds: float) -> float:
        """The median time in milliseconds."""
        question = [side, case.family, case.mode, *case.shape.split("x"), case.layers, seconds]
        self.child.stdin.write(" ".join(map(str, question)) + "\n")
        self.child.stdin.flush()
        status, answer = self._answer().split(maxsplit=1)
        if status != "ok":
            sys.exit(f"{side}, {case}: {answer.strip()}")
        return float(answer.split()[0])

    def end(self) -> None:
        self.child.stdin.close()
        self.child.wait()


def build() -> str:
    """Builds `benches/timing.rs` as `cargo bench` would, and returns the path of the program."""
    command = ["cargo", "bench", "--bench", "timing", "--no-run", "--message-format", "json"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        sys.exit("benches/pytorch.py needs Rust: cargo was not found")
    if done.returncode != 0:
        sys.exit("the Rust side does not build: " + " ".join(command))
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    programs = [m["executable"] for m in messages if m.get("target", {}).get("name") == "timing"]
    return next(program for program in programs if program)


def pytorch_turn(case: Case, seconds: float) -> float:
    """The median time in milliseconds."""
    steps, batch, features, hidden = case.sizes
    layers = FAMILIES[case.family](features, hidden, num_layers=case.layers, batch_first=True)
    xs = torch.randn(batch, steps, features)

    def forward() -> None:
        with torch.no_grad():
            layers(xs)

    def train() -> None:
        layers.zero_grad(set_to_none=True)
        ys, _ = layers(xs)
        (ys * ys).mean().backward()

    return median_time(forward if case.mode == "forward" else train, seconds)


def median_time(run: Callable[[], None], seconds: float) -> float:
    """As `median_time` in `benches/timing.rs`."""
    run()  # warm
    times: list[float] = []
    begin = time.perf_counter()
    while not times or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return median(times)


def measure(case: Case, rust: Rust, repetitions: int, seconds: float) -> Row:
    row = Row(case)
    sides = case.sides()
    for repetition in range(repetitions):
        first = repetition % len(sides)
        for side in sides[first:] + sides[:first]:
            turn = pytorch_turn(case, seconds) if side == "PyTorch" else rust.turn(side, case, seconds)
            row.turns.setdefault(side, []).append(turn)
    return row


def time_text(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "–"
    digits = max(0, 2 - math.floor(math.log10(milliseconds)))
    return f"{milliseconds:.{min(digits, 3)}f}"


def ratio_text(row: Row, side: str) -> str:
    if side not in row.turns:
        return "–"
    low, high = row.range(side)
    return f"{row.ratio(side):.2f} ({low:.2f}–{high:.2f})"


HEAD = [
    "family",
    "mode",
    "time×batch×input×hidden",
    "layers",
    "threads",
    "PyTorch ms",
    "recurrent ms",
    "candle-nn ms",
    "PyTorch / ours",
    "candle-nn / ours",
]
WIDTHS = [14, 7, 23, 6, 7, 10, 12, 12, 19, 19]


def cells(row: Row) -> list[str]:
    case = row.case
    names = [case.family, case.mode, case.shape.replace("x", "×"), str(case.layers), str(case.threads)]
    times = [time_text(row.time(side)) for side in SIDES]
    return names + times + [ratio_text(row, "PyTorch"), ratio_text(row, "candle-nn")]


def line(texts: Iterable[str]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(texts, WIDTHS)).rstrip()


def geometric_mean(ratios: list[float]) -> str:
    return f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}" if ratios else "–"


MEANS_HEAD = ["family", "mode", "threads", "cases", "PyTorch / ours", "lowest", "candle-nn / ours", "lowest"]


def means(rows: list[Row]) -> list[list[str]]:
    """Geometric means of the ratios, by family, mode and number of threads."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.case.family, row.case.mode, row.case.threads), []).append(row)
    table = []
    for (family, mode, threads), group in groups.items():
        texts = [family, mode, str(threads), str(len(group))]
        for side in ("PyTorch", "candle-nn"):
            ratios = [row.ratio(side) for row in group if side in row.turns]
            texts += [geometric_mean(ratios), f"{min(ratios):.2f}" if ratios else "–"]
        table.append(texts)
    return table


def facts(rust: dict[str, str], options: argparse.Namespace) -> list[str]:
    """The libraries, the machine and the repetitions."""
    rustc = subprocess.run(["rustc", "--version"], cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.strip()
    lock = (ROOT / "Cargo.lock").read_text()
    candle = re.search(r'name = "candle-nn"\nversion = "([^"]*)"', lock)
    return [
        f"PyTorch {torch.__version__} ({vectors()}), "
        f"recurrent {rust['version']} ({rust['vectors']}), "
        f"candle-nn {candle[1] if candle else 'of unknown version'}, {rustc}",
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        f"{options.repetitions} repetitions of turns of {options.seconds} s; median (lowest–highest of one repetition)",
    ]


def vectors() -> str:
    """The widest vectors that PyTorch uses here; an old release does not report it."""
    cpu = getattr(torch.backends, "cpu", None)
    return cpu.get_cpu_capability().lower() if cpu else "vectors unknown"


def processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def markdown(rows: list[Row], notes: list[str]) -> str:
    def table(head: list[str], body: list[list[str]], left: int) -> list[str]:
        rule = ["---"] * left + ["---:"] * (len(head) - left)
        return ["| " + " | ".join(texts) + " |" for texts in [head, rule, *body]]

    parts = table(MEANS_HEAD, means(rows), 2) + [""] + table(HEAD, [cells(row) for row in rows], 3)
    command = "python3 benches/pytorch.py " + " ".join(sys.argv[1:])
    return "\n".join([*parts, "", f"`{command.strip()}`: " + ". ".join(notes) + ".", ""])


def known(what: str, names: list[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        wrong = [word for word in text.split(",") if word not in names]
        if wrong:
            raise argparse.ArgumentTypeError(f"no {what} {wrong[0]!r}; there are {', '.join(names)}")
        return text.split(",")

    return parse


def parse_shapes(text: str) -> list[str]:
    for shape in text.split(","):
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){3}", shape):
            raise argparse.ArgumentTypeError(f"expected TIMExBATCHxINPUTxHIDDEN, got {shape!r}")
    return text.split(",")


def counts(text: str) -> list[int]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise argparse.ArgumentTypeError(f"expected numbers with commas between them, got {text!r}")
    return [int(word) for word in text.split(",")]


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="PyTorch, recurrent and candle-nn side by side, measured by turns")
    parser.add_argument("--families", type=known("family", list(FAMILIES)), default=list(FAMILIES)[:3],
                        metavar="A,B", help=f"of {', '.join(FAMILIES)} (default: those that PyTorch has)")
    parser.add_argument("--modes", type=known("mode", MODES), default=MODES, metavar="A,B", help="of forward, train")
    parser.add_argument("--shapes", type=parse_shapes, metavar="A,B", help=f"default: {','.join(SHAPES)}")
    parser.add_argument("--layers", type=counts, metavar="N,N", help="default: 1,2")
    parser.add_argument("--threads", type=counts, default=[1, 2], metavar="N,N", help="default: 1,2")
    parser.add_argument("--repetitions", type=int, metavar="N", help="turns of every side (default: 5)")
    parser.add_argument("--seconds", type=float, metavar="S", help="the shortest turn (default: 0.3)")
    parser.add_argument("--quick", action="store_true",
                        help="for what is not given: three shapes, one layer, 3 repetitions, turns of 0.2 s")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables as Markdown")
    options = parser.parse_args()
    quick = options.quick
    options.shapes = options.shapes or (QUICK_SHAPES if quick else SHAPES)
    options.layers = options.layers or ([1] if quick else [1, 2])
    options.repetitions = (3 if quick else 5) if options.repetitions is None else options.repetitions
    options.seconds = (0.2 if quick else 0.3) if options.seconds is None else options.seconds
    if options.repetitions < 1 or options.seconds < 0:
        parser.error("at least one repetition, and no negative time")
    return options


def main() -> None:
    options = parse_options()
    program = build()
    rows: list[Row] = []
    notes: list[str] = []
    start = time.perf_counter()
    for threads in options.threads:
        torch.set_num_threads(threads)
        rust = Rust(program, threads)
        if not notes:
            notes = facts(rust.facts, options)
            print("\n".join(notes) + "\n\n" + line(HEAD))
        first = Case(options.families[0], options.modes[0], options.shapes[0], options.layers[0], threads)
        measure(first, rust, 1, options.seconds)  # threads start, libraries load
        for family in options.families:
            for mode in options.modes:
                for layers in options.layers:
                    for shape in options.shapes:
                        case = Case(family, mode, shape, layers, threads)
                        rows.append(measure(case, rust, options.repetitions, options.seconds))
                        print(line(cells(rows[-1])), flush=True)
        rust.end()
    print("\ngeometric means")
    for texts in [MEANS_HEAD, *means(rows)]:
        print("  ".join(text.ljust(16) for text in texts).rstrip())
    print(f"\n{time.perf_counter() - start:.0f} s")
    if options.markdown:
        options.markdown.write_text(markdown(rows, notes))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
