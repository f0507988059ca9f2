"""Reads what `--csv --parquet --tensorboard` have written, with the programs it is meant for, and compares it with the records.

    pip install pandas polars pyarrow tensorboard
    cargo run --release --features parquet --example compare -- --quick --csv --parquet --tensorboard --out runs/exported
    python tests/report/exports.py runs/exported

Fails with an AssertionError.
"""

import json
import math
import pathlib
import sys

import pandas as pd
import polars as pl
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def same(one, other):
    one, other = float(one), float(other)
    return one == other or math.isnan(one) and math.isnan(other)


def main(folder):
    read = lambda name: [json.loads(line) for line in open(folder / f"{name}.jsonl")]
    runs, steps, evals, profiles = (read(name) for name in ("runs", "steps", "evals", "profiles"))

    # Tables: the same rows in the same order, without a digit lost.
    for name, records, columns in [("runs", runs, ["seed", "params", "final_loss", "baseline", "seconds"]),
                                   ("steps", steps, ["seed", "step", "loss", "grad_norm", "grad_norm_clipped"]),
                                   ("evals", evals, ["step", "loss"])]:
        for frame in (pd.read_csv(folder / f"{name}.csv"), pd.read_parquet(folder / f"{name}.parquet"),
                      pl.read_csv(folder / f"{name}.csv").to_pandas(), pl.read_parquet(folder / f"{name}.parquet").to_pandas()):
            assert list(frame["variant"]) == [record["variant"] for record in records], name
            for column in columns:
                for found, record in zip(frame[column], records, strict=True):
                    assert abs(float(found) - float(record[column])) <= 1e-15 * abs(float(record[column])) or same(found, record[column]), (name, column)
    exact = pl.read_parquet(folder / "steps.parquet")
    assert exact["loss"].to_list() == [record["loss"] for record in steps], "Parquet keeps every bit"
    assert exact.schema["seed"] == pl.UInt64 and exact.schema["variant"] == pl.String
    table = pd.read_parquet(folder / "profiles.parquet")
    assert len(table) == sum(len(record["lag"]) for record in profiles)
    assert list(table["median"]) == [value for record in profiles for value in record["median"]]
    measures = pd.read_csv(folder / "measures.csv"), pl.read_parquet(folder / "measures.parquet")
    assert len(measures[0]) == len(measures[1])

    # Event files: TensorBoard's own reader checks every checksum.
    for run in runs:
        own = lambda record: record["variant"] == run["variant"] and record["seed"] == run["seed"]
        events = EventAccumulator(str(folder / "tensorboard" / f"{run['variant']}-{run['seed']}"),
                                  size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
        events.Reload()
        tags = events.Tags()
        found = events.Scalars("training/loss")
        wanted = [record for record in steps if own(record)]
        assert [event.step for event in found] == [record["step"] for record in wanted]
        for event, record in zip(found, wanted):
            assert math.isclose(event.value, float(record["loss"]), rel_tol=1e-6), (event, record)
        assert [event.step for event in events.Scalars("held-out/loss")] == [record["step"] for record in evals if own(record)]
        assert all(later.wall_time >= event.wall_time for event, later in zip(found, found[1:]))
        histograms = [tag for tag in tags["histograms"] if tag.startswith("gradient by lag/h")]
        top = f"gradient by lag/h, layer {run['layers']}"
        assert top in histograms, tags
        taken = [record for record in profiles if own(record) and record["part"] == "h" and record["layer"] == run["layers"] - 1
                 and record["direction"] == "forward"]
        for event, record in zip(events.Histograms(top), taken, strict=True):
            assert event.step == record["step"]
            norms = [value for lag, value in zip(record["lag"], record["median"]) if lag < run["length"] and isinstance(value, float)]
            counts = event.histogram_value.bucket
            assert len(counts) == len(event.histogram_value.bucket_limit)
            assert math.isclose(sum(counts), sum(norms), rel_tol=1e-9), (sum(counts), sum(norms))
        start = events.Scalars(f"profile at the start, step is lag/h, layer {run['layers']}")
        assert [event.step for event in start] == list(range(run["length"]))
    print(f"{folder}: {len(runs)} runs, {len(steps)} steps, {len(table)} norms: tables and event files hold the records")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
