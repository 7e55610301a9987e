"""Adaptive measurement against a full one: are the numbers the same, and what does it save?

Each cell is a batch size with a number of prompts and of new tokens. All cells of an engine are measured on one loaded
engine, by the runner's own rules, in rounds: first full then adaptive, in the next round adaptive then full. So drift
of the machine favours neither, and full against full shows how well any two measurements agree there.

Two measurements agree if they tie by the rule that chooses the best configuration: they differ by at most 1 %, or one
standard error of the difference if that is larger. The share of pairs within 1 % is reported apart.

By default seconds are the CPU time of this process, with one thread and vLLM's engine in this process: on a shared
machine wall time would show what the others do. `--clock wall` measures as the runner does.

    python benchmarks/bench_adaptive.py [--engine vllm|hf-pipeline] [--rounds 2] [--minutes 12] [--clock cpu|wall]
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from infpop_operator.core.objective import TIE_RATIO
from infpop_operator.core.standard_error import standard_error_ratio
from infpop_runner.contract import (
    EngineSpec,
    FileSource,
    Measured,
    MeasurementSpec,
    ModelSpec,
    RunSpec,
    TrialSpec,
    WorkloadSpec,
)
from infpop_runner.engines import LoadRequest, find_loader
from infpop_runner.engines.environment import build_environment
from infpop_runner.measure import (
    AdaptivePlan,
    TrialActions,
    TrialReport,
    measure_adaptively,
    measure_trial,
)
from infpop_runner.workload import load_prompts

RESULTS = Path(__file__).parent / "results"
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
VARIANTS = ((96, 4), (96, 8), (192, 4))  # samples, new tokens
KEPT = 3  # one of so many characters of each prompt of the built-in set is kept: it must be fast, and still uneven
Rows = list[dict[str, Any]]
RULES = MeasurementSpec(min_repeat_seconds=1.0, max_spread_ratio=100.0)


class CpuTime:
    """The module `time`, with the CPU time of this process as its monotonic clock."""

    monotonic = staticmethod(time.process_time)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        return getattr(time, name)


def read_clock(kind: str, engine: str) -> Callable[[], float]:
    """Return the clock; by CPU time, vLLM's engine in this process times its requests with it as well."""
    if kind == "wall":
        return time.perf_counter
    # Never import vLLM beside transformers: it changes settings of torch, and a pipeline gets many times slower.
    for name in ("vllm.v1.engine", "vllm.v1.core.sched.scheduler") if engine == "vllm" else ():
        import_module(name).time = CpuTime()  # type: ignore[attr-defined]
    return time.process_time


class Bench:
    """One loaded engine, on which any cell can be measured."""

    def __init__(self, engine: str, directory: Path, clock: str) -> None:
        self._name = engine
        self._clock = read_clock(clock, engine)
        spec = run_spec(engine, directory)
        os.environ.update(build_environment(spec, current=os.environ, devices=(), cores=1))  # noqa: TID251 - an edge
        self._request = LoadRequest(
            spec=spec,
            prompts=load_prompts(spec.workload, seed=spec.seed),
            batch_sizes=BATCH_SIZES,
            clock=self._clock,
            wait=time.sleep,
            memory_used_bytes=lambda: None,
        )
        self._engine: Any = find_loader(engine)(self._request)
        self._prompts = self._engine._prompts

    def measure(self, cell: tuple[int, int, int], mode: str) -> dict[str, Any]:
        """Measure a cell (samples, new tokens, batch size) in this mode."""
        samples, new_tokens, batch_size = cell
        self._choose(samples, new_tokens)
        trial = TrialSpec(index=0, batch_size=batch_size)
        report = TrialReport(
            max_new_tokens=new_tokens,
            memory_peak_bytes=lambda: None,
            missing_reasons=self._engine.about.missing_reasons,
        )
        actions = TrialActions(
            warm_up=lambda: self._engine.warm_up(batch_size),
            run_pass=lambda: self._engine.run_pass(batch_size),
            run_block=lambda first, batches: self._engine.run_block(batch_size, first, batches),
            observe=lambda _: None,
            clock=self._clock,
            throttled_seconds=lambda: None,
        )
        start = time.perf_counter()
        if mode == "full":
            result: Any = measure_trial(trial, RULES, report, actions)
        else:
            rules = RULES.model_copy(update={"mode": "adaptive"})
            plan = AdaptivePlan.of(
                rules,
                samples=samples,
                batch_size=batch_size,
                new_tokens=new_tokens,
                fewest_batches=self._engine.about.fewest_batches,
            )
            result = measure_adaptively(trial, rules, plan, report, actions)
        if not isinstance(result, Measured):
            raise SystemExit(f"not measured: {result}")
        return {
            "tokens_per_second": result.throughput_tokens_per_second,
            "interval": result.interval_tokens_per_second,
            "standard_error_ratio": standard_error_ratio(result),
            "measured_seconds": result.measured_seconds,
            "wall_seconds": round(time.perf_counter() - start, 3),
        }

    def _choose(self, samples: int, new_tokens: int) -> None:
        """Give the loaded engine another workload: the first prompts of the same, and other output lengths."""
        workload = self._request.spec.workload.model_copy(update={"max_new_tokens": new_tokens, "samples": samples})
        spec = self._request.spec.model_copy(update={"workload": workload})
        self._engine._request = dataclasses.replace(self._request, spec=spec)
        self._engine._prompts = dataclasses.replace(self._prompts, distinct=self._prompts.distinct[:samples])
        if self._name == "hf-pipeline":
            self._engine._generation |= {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens}


def run_spec(engine: str, directory: Path) -> RunSpec:
    """Return the run that loads the engine for every cell."""
    return RunSpec(
        study="adaptive",
        pool="cpu",
        round=1,
        run="adaptive",
        model=ModelSpec(name=str(directory / "model"), dtype="float32"),
        engine=EngineSpec(name=engine, enforce_eager=True, max_num_batched_tokens=2048),
        workload=WorkloadSpec(
            source=FileSource(path=str(directory / "prompts.jsonl")),
            samples=max(samples for samples, _ in VARIANTS),
            max_new_tokens=max(tokens for _, tokens in VARIANTS),
        ),
        device="cpu",
        gpu_count=1,
        trials=tuple(TrialSpec(index=index, batch_size=size) for index, size in enumerate(BATCH_SIZES)),
        measurement=RULES,
    )


def write_inputs(directory: Path) -> None:
    """Write the tiny model, and the built-in prompts cut to a part of their length."""
    command = [sys.executable, "-m", "infpop_runner.engines.tiny_model", str(directory / "model")]
    subprocess.run(command, check=True, capture_output=True)
    builtin = WorkloadSpec.model_validate({"source": {"kind": "builtin"}, "samples": 192, "max_new_tokens": 1})
    texts = load_prompts(builtin, seed=0).texts  # type: ignore[union-attr]
    lines = [json.dumps({"prompt": text[: len(text) // KEPT + 1]}) for text in texts]
    (directory / "prompts.jsonl").write_text("\n".join(lines) + "\n")


def measure_cells(bench: Bench, rounds: int, minutes: float, save: Callable[[Rows], None]) -> None:
    """Measure all cells in rounds, until the time is over; save what is known after each cell."""
    cells = [(samples, tokens, size) for samples, tokens in VARIANTS for size in BATCH_SIZES]
    rows: Rows = [
        {"samples": samples, "new_tokens": tokens, "batch_size": size, "full": [], "adaptive": []}
        for samples, tokens, size in cells
    ]
    start = time.perf_counter()
    for number in range(rounds):
        for cell, row in zip(cells, rows, strict=True):
            if time.perf_counter() - start > 60 * minutes:
                return
            for mode in ("full", "adaptive") if number % 2 == 0 else ("adaptive", "full"):
                row[mode].append(bench.measure(cell, mode))
            shown = row["adaptive"][-1]["tokens_per_second"] / row["full"][-1]["tokens_per_second"]
            seconds = [row[mode][-1]["measured_seconds"] for mode in ("full", "adaptive")]
            print(f"round {number + 1} {cell}: adaptive / full {shown:.4f}, seconds {seconds}", flush=True)
            save(rows)


def compare(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Return how well two measurements of the same cells agree."""
    if not pairs:
        return {"pairs": 0}
    ratios = [one["tokens_per_second"] / other["tokens_per_second"] - 1 for one, other in pairs]
    errors = [(one["standard_error_ratio"] ** 2 + other["standard_error_ratio"] ** 2) ** 0.5 for one, other in pairs]
    bands = [max(TIE_RATIO, error) for error in errors]
    return {
        "pairs": len(pairs),
        "share_tied": fmean(abs(ratio) <= band for ratio, band in zip(ratios, bands, strict=True)),
        "share_within_1_percent": fmean(abs(ratio) <= TIE_RATIO for ratio in ratios),
        "median_ratio": 1 + median(ratios),
        "mean_ratio": 1 + fmean(ratios),
        "mean_ratio_standard_error": stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else None,
        "median_difference": median(map(abs, ratios)),
        "largest_difference": max(map(abs, ratios)),
    }


def summary(rows: Rows) -> dict[str, Any]:
    """Return agreement and saving over all cells."""
    rows = [row for row in rows if row["full"]]
    pairs = [pair for row in rows for pair in zip(row["adaptive"], row["full"], strict=True)]
    inside = [one["interval"][0] <= other["tokens_per_second"] <= one["interval"][1] for one, other in pairs]
    spent = {mode: sum(each["measured_seconds"] for row in rows for each in row[mode]) for mode in ("full", "adaptive")}
    shares = [one["measured_seconds"] / other["measured_seconds"] for one, other in pairs]
    return {
        "cells": len(rows),
        "adaptive_against_full": compare(pairs),
        "full_against_full": compare([row["full"][:2] for row in rows if len(row["full"]) > 1]),
        "adaptive_against_adaptive": compare([row["adaptive"][:2] for row in rows if len(row["adaptive"]) > 1]),
        "share_of_full_inside_the_interval": fmean(inside),
        "seconds": {**spent, "saved_ratio": 1 - spent["adaptive"] / spent["full"], "median_share": median(shares)},
    }


def write_report(path: Path, engine: str, found: dict[str, Any]) -> None:
    """Replace what the report says of one engine; the summary is over both."""
    report = json.loads(path.read_text()) if path.exists() else {}
    engines = report.get("engines", {}) | {engine: found}
    both = [row for each in engines.values() for row in each["rows"]]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report | {"summary": summary(both), "engines": engines}, indent=1) + "\n")


def main() -> None:
    """Measure one engine, or each in its own process, and write `results/adaptive.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["vllm", "hf-pipeline"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=12, help="no further round of a cell begins after this time")
    parser.add_argument("--clock", choices=["cpu", "wall"], default="cpu")
    parser.add_argument("--json", type=Path, default=RESULTS / "adaptive.json")
    options = parser.parse_args()
    if options.engine is None:
        for engine in ("vllm", "hf-pipeline"):
            subprocess.run([sys.executable, __file__, "--engine", engine, *sys.argv[1:]], check=True)
        return
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # noqa: TID251 - its CPU time must be that of this process
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as temporary:
        write_inputs(Path(temporary))

        def save(rows: Rows) -> None:
            found = {
                "clock": options.clock,
                "load_average": {"before": load, "after": os.getloadavg()},
                "cpus": os.cpu_count(),
                "measurement": RULES.model_dump(),
                "summary": summary(rows),
                "rows": rows,
            }
            write_report(options.json, options.engine, found)

        measure_cells(Bench(options.engine, Path(temporary), options.clock), options.rounds, options.minutes, save)
    sys.stdout.flush()
    os._exit(0)  # an engine in this process has nothing left to end


if __name__ == "__main__":
    main()
