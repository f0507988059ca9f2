"""Reads the exports of `--csv --parquet --tensorboard` with the programs that they are meant for, and compares them with the records. Parquet may be missing.

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


def near(one, other):
    """Equal except for the last bit, which pandas does not always read correctly from text."""
    one, other = float(one), float(other)
    return one == other or math.isnan(one) and math.isnan(other) or math.isclose(one, other, rel_tol=3e-16)


def main(folder):
    read = lambda name: [json.loads(line) for line in open(folder / f"{name}.jsonl")]
    runs, steps, evals, profiles = (read(name) for name in ("runs", "steps", "evals", "profiles"))

    parquet = (folder / "runs.parquet").exists()

    # Tables: the same rows in the same order, without a digit lost.
    def at(record, path):
        for name in path.split("."):
            record = record[name]
        return record

    of_run = lambda run: (run["config"]["model"]["variant"], run["config"]["seed"])
    variant = lambda record: of_run(record)[0] if "config" in record else record["variant"]
    paths = ["config.seed", "config.model.params", "outcome.final_loss", "config.task.baseline", "outcome.seconds"]
    for name, records, columns in [("runs", runs, paths),
                                   ("steps", steps, ["seed", "step", "loss", "grad_norm", "grad_norm_clipped"]),
                                   ("evals", evals, ["step", "loss"])]:
        frames = [pd.read_csv(folder / f"{name}.csv"), pl.read_csv(folder / f"{name}.csv").to_pandas()]
        if parquet:
            frames += [pd.read_parquet(folder / f"{name}.parquet"), pl.read_parquet(folder / f"{name}.parquet").to_pandas()]
        for frame in frames:
            assert list(frame["variant"]) == [variant(record) for record in records], name
            for column in columns:
                for found, record in zip(frame[column], records, strict=True):
                    assert near(found, at(record, column)), (name, column, found, at(record, column))
    tables = [pd.read_csv(folder / "profiles.csv")]
    measures = len(pd.read_csv(folder / "measures.csv"))
    longer = [found for run in runs for found in run["outcome"]["generalisation"]]
    for found, record in zip(pd.read_csv(folder / "generalisation.csv").itertuples(), longer, strict=True):
        assert found.length == record["length"] and near(found.loss, record["loss"]), (found, record)
    if parquet:
        exact = pl.read_parquet(folder / "steps.parquet")
        assert exact["loss"].to_list() == [record["loss"] for record in steps], "Parquet keeps every bit"
        assert exact.schema["seed"] == pl.UInt64 and exact.schema["variant"] == pl.String
        tables.append(pd.read_parquet(folder / "profiles.parquet"))
        assert measures == len(pl.read_parquet(folder / "measures.parquet"))
    for table in tables:
        assert len(table) == sum(len(record["lag"]) for record in profiles)
        for found, value in zip(table["median"], (value for record in profiles for value in record["median"]), strict=True):
            assert near(found, value), (found, value)

    # Event files: TensorBoard's own reader checks every checksum.
    for run in runs:
        layers, length = run["config"]["model"]["layers"], run["config"]["task"]["length"]
        own = lambda record: (record["variant"], record["seed"]) == of_run(run)
        events = EventAccumulator(str(folder / "tensorboard" / "{}-{}".format(*of_run(run))),
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
        top = f"gradient by lag/h, layer {layers}"
        assert top in histograms, tags
        taken = [record for record in profiles if own(record) and record["part"] == "h" and record["layer"] == layers - 1
                 and record["direction"] == "forward"]
        for event, record in zip(events.Histograms(top), taken, strict=True):
            assert event.step == record["step"]
            norms = [value for lag, value in zip(record["lag"], record["median"]) if lag < length and isinstance(value, float)]
            counts = event.histogram_value.bucket
            assert len(counts) == len(event.histogram_value.bucket_limit)
            assert math.isclose(sum(counts), sum(norms), rel_tol=1e-9), (sum(counts), sum(norms))
        start = events.Scalars(f"profile at the start, step is lag/h, layer {layers}")
        finite = [lag for lag, value in zip(taken[0]["lag"], taken[0]["median"]) if lag < length and math.isfinite(float(value))]
        assert [event.step for event in start] == finite and finite
    kinds = "CSV, Parquet" if parquet else "CSV (no Parquet here)"
    print(f"{folder}: {len(runs)} runs, {len(steps)} steps, {len(table)} norms, {measures} values of measures: {kinds} and event files hold the records")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
