#!/usr/bin/env python3
"""Times the layers of this workspace, of PyTorch, ONNX Runtime, JAX and candle-nn in turns.

    python3 benches/peers.py --write         the whole grid, into docs/benchmarks.md and README.md
    python3 benches/peers.py --quick         a first look
    python3 benches/peers.py --families lstm --modes train --shapes 100x32x64x128,784x32x1x128
    python3 benches/peers.py --append FILE   measures what FILE does not have, and appends it
    python3 benches/peers.py --from FILE --write      the pages again, from what FILE has

Needs Rust, and `pip install torch onnxruntime onnx jax`. A library that is not installed is left
out, and the output says so. Everything runs in f32 on the CPU:

    forward   the outputs, with nothing kept for a backward pass
    train     the outputs, the mean of their squares, and the gradients of all weights, but not of
              the input. Freeing the graph and the gradients counts
    stream    the outputs of the next chunk of a stream, whose state is passed from run to run

Each number of threads has its own process of each library (recurrent and candle-nn share theirs).
They answer questions in turns, so that only one works at a time. A turn is a new layer, a warm-up
run, then runs for some tenths of a second, at least one; its result is their median. Turns are
repeated, each time with another process first; candle-nn, the slowest, has one. The tables have the
quotient of the medians over the turns, other / ours, and in brackets the lowest and the highest
quotient of one repetition. Above 1 this workspace is faster. A quotient is bold if its whole range
is below 1.

What runs with n threads:

- recurrent, candle-nn: `benches/timing.rs` with RAYON_NUM_THREADS=n, inputs (batch, time, input).
- PyTorch: `nn.LSTM`, `nn.GRU` and `nn.RNN` with `batch_first=True`, `torch.set_num_threads(n)`;
  forward passes under `no_grad`, streams under `inference_mode`.
- ONNX Runtime: one LSTM, GRU or RNN node for each layer, on (time, batch, input), the only layout
  that it has on the CPU. It has n intra-op threads that spin, as is its default, and one inter-op
  thread. Inputs and outputs are bound once (`io_binding`), which makes a stream of single steps
  faster. It does not train.
- JAX: `jit` of `lax.scan` over (time, batch, input), with the product of the inputs outside of the
  scan, and its gradient; compilation does not count. The process is bound to n cores (on Linux):
  NPROC=n limits XLA's pool, but with NPROC=1 a thread outside of the pool works beside it, and
  `--xla_cpu_multi_thread_eigen=false` limits neither.

The number of cores that each library used is in the output, as CPU time over time. Libraries of
Python are called from Python, and short runs include the call. `benches/peer.py` compares each of
them with the equations before it is timed; the workspace's tests compare recurrent with PyTorch.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Callable, Iterable, Iterator

from peer import LIBRARIES, Case

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "docs/benchmarks.md", ROOT / "README.md"]
GATES = {"lstm": 4, "gru": 3, "vanilla": 1, "layernorm-lstm": 4}
MODES = ["forward", "train", "stream"]
SHAPES = (
    "100x32x64x128 784x32x1x128 200x64x128x256 1000x1x16x64 50x128x256x512 333x7x40x100 "
    "64x16x512x512 50x16x256x1024 64x64x512x512 200x1x128x256 200x1x256x512 100x4x128x512 "
    "100x8x64x128 300x3x80x333 20x256x128x128"
).split()
STREAMS = [f"{chunk}x1x64x{hidden}" for chunk in (1, 16) for hidden in (64, 128, 256, 512)]
QUICK_SHAPES = ["100x32x64x128", "1000x1x16x64", "200x1x128x256"]
OURS = "recurrent"
PEERS = [*LIBRARIES, "candle-nn"]


def is_available(library: str, case: Case) -> bool:
    """Whether the library can do it."""
    if library == OURS:
        return True
    if library == "candle-nn":
        return case.family in ("lstm", "gru") and case.layers == 1 and case.mode != "stream"
    return case.family in LIBRARIES[library].FAMILIES and case.mode in LIBRARIES[library].MODES


@dataclass
class Row:
    """A case with one number of threads."""

    case: Case
    threads: int
    turns: dict[str, list[float]]  # milliseconds by library
    cores: dict[str, list[float]]  # CPU time over time by library

    def ratios(self, library: str) -> Ratio | None:
        """How many times as long as ours the library took."""
        return Ratio(self.turns[library], self.turns[OURS]) if library in self.turns else None


class Ratio:
    """The quotient of two medians, and the range of the quotients of the repetitions."""

    def __init__(self, above: list[float], below: list[float]):
        pairs = list(zip(above, below))
        quotients = [a / b for a, b in pairs]
        self.value = median(a for a, _ in pairs) / median(b for _, b in pairs)
        self.low, self.high = min(quotients), max(quotients)

    def text(self, least: float = 1.0) -> str:
        """Bold if the whole range is below `least`."""
        text = digits(self.value)
        if self.low < self.high:
            text += f" ({digits(self.low)}–{digits(self.high)})"
        return f"**{text}**" if self.high < least else text


# ------------------------------------------------------------------------------------ measuring


class Child:
    """A process that answers questions about its libraries, with one number of threads."""

    def __init__(self, command: list[str], threads: int):
        limits = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS", "OMP_NUM_THREADS", "NPROC"]
        environment = {**os.environ, **{name: str(threads) for name in limits}}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.child = subprocess.Popen(command, text=True, env=environment, **pipes)
        self.threads = threads

    def facts(self) -> dict[str, str] | str:
        """What it says when it is ready, or why it is not."""
        status, text = self._answer()
        if status == "error":
            return text
        facts = dict(word.split("=", 1) for word in text.split())
        if facts["threads"] != str(self.threads):
            sys.exit(f"{facts['threads']} threads instead of {self.threads}")
        return facts

    def _answer(self) -> tuple[str, str]:
        line = self.child.stdout.readline()
        if not line:
            sys.exit(f"{self.child.args} ended with exit status {self.child.wait()}")
        status, text = line.split(maxsplit=1)
        return status, text.strip()

    def _cpu_seconds(self) -> float:
        """The CPU time of all its threads so far, where the system tells it."""
        try:
            fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return math.nan
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def turn(self, library: str, case: Case, seconds: float) -> tuple[float, float]:
        """The median time in milliseconds, and the number of cores in use."""
        name = library.replace(" ", "-")
        question = [name, case.family, case.mode, *case.sizes, case.layers, seconds]
        used, start = self._cpu_seconds(), time.perf_counter()
        self.child.stdin.write(" ".join(map(str, question)) + "\n")
        self.child.stdin.flush()
        status, text = self._answer()
        if status != "ok":
            sys.exit(f"{library}, {case}: {text}")
        return float(text), (self._cpu_seconds() - used) / (time.perf_counter() - start)

    def end(self) -> None:
        self.child.stdin.close()
        self.child.wait()


def build() -> str:
    """Builds `benches/timing.rs` as `cargo bench` would, and returns the path of the program."""
    command = ["cargo", "bench", "--bench", "timing", "--no-run", "--message-format", "json"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        sys.exit("benches/peers.py needs Rust: cargo was not found")
    if done.returncode != 0:
        sys.exit("the Rust program does not build: " + " ".join(command))
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    programs = [m["executable"] for m in messages if m.get("target", {}).get("name") == "timing"]
    return next(program for program in programs if program)


def start(options: Any) -> tuple[dict[tuple[str, int], Child], dict[str, str]]:
    """The processes by library and number of threads, and a description of each library."""
    program = build()
    rustc = subprocess.run(["rustc", "--version"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    candle = re.search(r'name = "candle-nn"\nversion = "(.*)"', (ROOT / "Cargo.lock").read_text())
    peer = str(ROOT / "benches/peer.py")
    children, libraries = {}, {}
    for count in options.threads:
        rust = Child([program, "--serve"], count)
        started = {OURS: rust}
        for library in filter(options.libraries.__contains__, LIBRARIES):
            started[library] = Child([sys.executable, peer, library, str(count)], count)
        for library, child in started.items():
            facts = child.facts()
            if isinstance(facts, str):
                libraries[library] = f"{library} left out ({facts})"
                continue
            children[library, count] = child
            vectors = f" ({facts['vectors']})" if facts["vectors"] else ""
            libraries[library] = f"{library} {facts['version']}{vectors}"
        if "candle-nn" in options.libraries:
            children["candle-nn", count] = rust
            libraries["candle-nn"] = f"candle-nn {candle[1]}"
    libraries["rustc"] = rustc.stdout.strip()
    return children, libraries


def measure(case: Case, children: dict[tuple[str, int], Child], options: Any) -> list[Row]:
    """One row for each number of threads, all measured in turns."""
    order = [(library, threads) for library, threads in children if is_available(library, case)]
    rows = {threads: Row(case, threads, {}, {}) for _, threads in order}
    for repetition in range(options.repetitions):
        first = repetition % len(order)
        for library, threads in order[first:] + order[:first]:
            if library == "candle-nn" and repetition > 0:
                continue
            turn, cores = children[library, threads].turn(library, case, options.seconds)
            rows[threads].turns.setdefault(library, []).append(turn)
            rows[threads].cores.setdefault(library, []).append(cores)
    return list(rows.values())


def processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


# --------------------------------------------------------------------------------------- tables


def table(head: list[str], body: Iterable[list[str]], left: int) -> str:
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(texts) + " |" for texts in [head, rule, *body])


def digits(value: float, most: int = 2) -> str:
    """Three significant digits, at most `most` of them behind the point."""
    return f"{value:.{min(most, max(0, 2 - math.floor(math.log10(value))))}f}"


def time_text(turns: list[float] | None, unit: float = 1.0) -> str:
    return digits(median(turns) / unit, 3) if turns else "–"


def threads_text(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def grouped(rows: list[Row], key: Callable[[Row], tuple]) -> dict[tuple, list[Row]]:
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def means(rows: list[Row]) -> str:
    """Geometric mean and lowest ratio by family, mode and number of threads."""

    def cell(group: list[Row], library: str) -> str:
        found = [ratio for row in group if (ratio := row.ratios(library))]
        if not found:
            return "–"
        values, slower = [ratio.value for ratio in found], sum(ratio.high < 1.0 for ratio in found)
        text = f"{digits(geometric_mean(values))}, lowest {digits(min(values))}"
        return f"{text}, **{slower} below 1**" if slower else text

    groups = grouped(rows, lambda row: (row.threads, row.case.family, row.case.mode))
    body = [
        [family, mode, str(threads), str(len(group)), *(cell(group, library) for library in PEERS)]
        for (threads, family, mode), group in groups.items()
    ]
    return table(["family", "mode", "threads", "cases", *PEERS], body, 2)


def summary(rows: list[Row]) -> str:
    """Geometric means by family and mode, with one cell for all numbers of threads."""

    def cell(group: list[Row], library: str) -> str:
        values: dict[int, list[float]] = {}
        for row in group:
            if ratio := row.ratios(library):
                values.setdefault(row.threads, []).append(ratio.value)
        return ", ".join(digits(geometric_mean(of_one), 1) for of_one in values.values()) or "–"

    groups = grouped(rows, lambda row: (row.case.family, row.case.mode))
    body = [
        [f"{family}, {mode}", *(cell(group, library) for library in PEERS)]
        for (family, mode), group in groups.items()
        if mode != "stream"
    ]
    return table(["", *PEERS], body, 1)


def cases(rows: list[Row]) -> str:
    """Every case but the streams, folded by family."""
    parts = []
    rows = [row for row in rows if row.case.mode != "stream"]
    for family, group in grouped(rows, lambda row: row.case.family).items():
        head = ["mode", "time×batch×input×hidden", "layers", "threads", "ours, ms"]
        body = [
            [case.mode, case.shape.replace("x", "×"), str(case.layers), str(row.threads)]
            + [time_text(row.turns[OURS]), *ratio_cells(row)]
            for row in group
            for case in [row.case]
        ]
        title = f"<details>\n<summary>All cases of the family {family}</summary>"
        parts.append(f"{title}\n\n{table([*head, *PEERS], body, 2)}\n\n</details>")
    return "\n\n".join(parts)


def ratio_cells(row: Row) -> list[str]:
    return [ratio.text() if (ratio := row.ratios(library)) else "–" for library in PEERS]


def streams(rows: list[Row]) -> str:
    """The times of a chunk of a stream."""
    head = ["family", "batch×input×hidden", "steps", "threads", "ours, µs", "ONNX Runtime, µs"]
    peers = [library for library in PEERS if library != "candle-nn"]
    body = []
    for row in rows:
        if row.case.mode == "stream":
            steps, sizes = row.case.shape.replace("x", "×").split("×", 1)
            times = [row.turns.get(library) for library in (OURS, "ONNX Runtime")]
            body.append(
                [row.case.family, sizes, steps, str(row.threads)]
                + [time_text(turns, 1e-3) for turns in times]
                + ratio_cells(row)[: len(peers)]
            )
    return table(head + peers, body, 2)


def scaling(rows: list[Row]) -> str:
    """Our time with the fewest threads over that with more, by the work of a step."""

    def work(case: Case) -> float:
        """The recurrent product of a step, in MFLOP."""
        _, batch, _, hidden = case.sizes
        return 2e-6 * batch * GATES[case.family] * hidden * hidden

    def least(case: Case) -> float:
        return 1.7 if work(case) >= 2.0 else 1.5 if work(case) >= 0.5 else 0.97

    ours = {(row.case, row.threads): row.turns[OURS] for row in rows if row.case.mode != "stream"}
    counts = sorted({threads for _, threads in ours})
    body = []
    found = {(case.family, case.shape, case.layers): case for case, _ in ours}
    for case in sorted(found.values(), key=work):
        texts = [case.family, case.shape.replace("x", "×"), str(case.layers), f"{work(case):.3g}"]
        for count in counts[1:]:
            for mode in ("forward", "train"):
                of_mode = Case(case.family, mode, case.shape, case.layers)
                pair = [ours.get((of_mode, threads)) for threads in (counts[0], count)]
                texts.append(Ratio(*pair).text(least(case)) if all(pair) else "–")
        body.append(texts)
    head = ["family", "time×batch×input×hidden", "layers", "MFLOP a step"]
    for count in counts[1:]:
        head += [f"{mode}, {count} / {counts[0]}" for mode in ("forward", "train")]
    return table(head, body, 2)


def facts(rows: list[Row], header: dict[str, Any]) -> str:
    """The libraries, the machine, the repetitions, and the cores in use."""
    cores = []
    for (threads,), group in grouped(rows, lambda row: (row.threads,)).items():
        highest = {
            library: max(median(row.cores[library]) for row in group if library in row.cores)
            for library in [OURS, *PEERS]
            if any(library in row.cores for row in group)
        }
        texts = ", ".join(f"{library} {value:.2f}" for library, value in highest.items())
        cores.append(f"- cores in use with {threads_text(threads)}, the most in any case: {texts}")
    return "\n".join([*(f"- {text}" for text in header.values()), *cores])


def write_pages(sections: dict[str, str]) -> None:
    """Replaces what stands between `<!-- measured: SECTION -->` and `<!-- end of measured -->`."""
    block = re.compile(r"<!-- measured: (.*?) -->\n.*?<!-- end of measured -->", re.DOTALL)
    for page in PAGES:
        text = page.read_text()
        page.write_text(
            block.sub(
                lambda found: f"<!-- measured: {found[1]} -->\n\n{sections[found[1]]}\n\n"
                "<!-- end of measured -->",
                text,
            )
        )


# ------------------------------------------------------------------------------------------ main


def words(what: str, names: list[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        wrong = [word for word in text.split(",") if word not in names]
        if wrong:
            found = f"no {what} {wrong[0]!r}; there are {', '.join(names)}"
            raise argparse.ArgumentTypeError(found)
        return text.split(",")

    return parse


def matching(pattern: str, what: str, convert: Callable) -> Callable[[str], list]:
    def parse(text: str) -> list:
        wrong = [word for word in text.split(",") if not re.fullmatch(pattern, word)]
        if wrong:
            raise argparse.ArgumentTypeError(f"expected {what}, got {wrong[0]!r}")
        return [convert(word) for word in text.split(",")]

    return parse


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="recurrent and its peers, measured in turns")
    add, counts = parser.add_argument, matching(r"[1-9]\d*", "numbers", int)
    shapes = matching(r"[1-9]\d*(x[1-9]\d*){3}", "TIMExBATCHxINPUTxHIDDEN", str)
    families = list(GATES)
    add("--families", type=words("family", families), default=families[:3], metavar="A,B",
        help=f"of {', '.join(families)} (default: the first three)")
    add("--modes", type=words("mode", MODES), default=MODES, metavar="A,B",
        help=f"of {', '.join(MODES)} (default: all)")
    add("--libraries", type=words("library", ["none", *PEERS]), default=PEERS, metavar="A,B",
        help=f"beside recurrent: of {', '.join(PEERS)}, or none (default: all)")
    add("--shapes", type=shapes, metavar="A,B",
        help="TIMExBATCHxINPUTxHIDDEN (default: the grid; for streams, one step and 16)")
    add("--layers", type=counts, default=[1], metavar="N,N", help="default: 1")
    add("--threads", type=counts, default=[1, 2], metavar="N,N", help="default: 1,2")
    add("--repetitions", type=int, metavar="N", help="turns of every process (default: 3)")
    add("--seconds", type=float, metavar="S", help="the shortest turn (default: 0.2)")
    add("--quick", action="store_true", help="three shapes, 2 repetitions, turns of 0.05 s")
    add("--append", type=Path, metavar="FILE",
        help="skip the cases that this file of JSON lines has, and append the others")
    add("--from", type=Path, metavar="FILE", dest="source", help="measure nothing, read this file")
    add("--write", action="store_true", help="write the tables into the documents")
    options = parser.parse_args()
    if options.repetitions is None:
        options.repetitions = 2 if options.quick else 3
    if options.seconds is None:
        options.seconds = 0.05 if options.quick else 0.2
    if options.repetitions < 1 or options.seconds < 0:
        parser.error("at least one repetition, and no negative time")
    return options


def planned(options: argparse.Namespace) -> Iterator[Case]:
    grid = QUICK_SHAPES if options.quick else SHAPES
    for family in options.families:
        for mode in options.modes:
            for layers in options.layers:
                for shape in options.shapes or (STREAMS if mode == "stream" else grid):
                    yield Case(family, mode, shape, layers)


def read(file: Path | None) -> tuple[dict[str, Any] | None, list[Row]]:
    """The header and the rows of a file, if it is there."""
    if file is None or not file.exists():
        return None, []
    header, *rows = map(json.loads, file.read_text().splitlines())
    return header, [Row(**{**row, "case": Case(**row["case"])}) for row in rows]


def measure_all(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    known, rows = read(options.append)
    begin = time.perf_counter()
    children, libraries = start(options)
    header = {
        "libraries": ", ".join(libraries.values()),
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        "turns": f"{options.repetitions} repetitions of turns of {options.seconds} s",
    }
    print("\n".join(header.values()), flush=True)
    if known not in (None, header):
        sys.exit(f"{options.append} was measured otherwise: {known}")
    file = options.append.open("a") if options.append else None
    if file and known is None:
        print(json.dumps(header), file=file, flush=True)
    cases = [case for case in planned(options) if case not in {row.case for row in rows}]
    for index, case in enumerate(cases, 1):
        for row in measure(case, children, options):
            rows.append(row)
            ratios = [f"{library} {r.text()}" for library in PEERS if (r := row.ratios(library))]
            name = f"{case.family} {case.mode} {case.shape}, layers: {case.layers}"
            ours = f"{threads_text(row.threads)} {time_text(row.turns[OURS])} ms"
            print(f"[{index}/{len(cases)}] {name}, {ours}: {', '.join(ratios)}", flush=True)
            if file:
                print(json.dumps(asdict(row)), file=file, flush=True)
    for child in set(children.values()):
        child.end()
    print(f"{time.perf_counter() - begin:.0f} s")
    return header, rows


def main() -> None:
    options = parse_options()
    header, rows = read(options.source) if options.source else measure_all(options)
    if not rows:
        sys.exit("there is nothing to show")
    families = list(GATES)
    rows.sort(
        key=lambda row: (families.index(row.case.family), MODES.index(row.case.mode), row.threads)
    )
    sections = {
        "summary": summary(rows),
        "means": means(rows),
        "facts": facts(rows, header),
        "scaling": scaling(rows),
        "streams": streams(rows),
        "cases": cases(rows),
    }
    if options.write:
        write_pages(sections)
    else:
        print("\n" + "\n\n".join(sections.values()))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
