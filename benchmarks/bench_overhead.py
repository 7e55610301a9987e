"""Overhead of a trial: wall time of a run with one trial, minus engine load and measured time.

The rest is reading the prompts, one warm-up batch, and writing results. The tiny model keeps the warm-up batch itself
short. A second value is the wall time of the whole process minus the same, which adds interpreter start and exit.

    python benchmarks/bench_overhead.py [--runs 3]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from infpop_runner.contract import (
    BuiltinSource,
    EngineSpec,
    Measured,
    MeasurementSpec,
    ModelSpec,
    RunSpec,
    TrialSpec,
    WorkloadSpec,
    decode_result,
)

RESULTS = Path(__file__).parent / "results"


def overhead(engine: str, directory: Path) -> dict[str, float]:
    """Return the seconds of one run that were neither loading nor measuring."""
    spec = RunSpec(
        study="overhead",
        pool="cpu",
        round=1,
        run="overhead",
        model=ModelSpec(name=str(directory / "model")),
        engine=EngineSpec(name=engine, enforce_eager=True, max_num_batched_tokens=4096),
        workload=WorkloadSpec(source=BuiltinSource(), samples=64, max_new_tokens=8),
        device="cpu",
        gpu_count=1,
        trials=(TrialSpec(index=0, batch_size=16),),
        measurement=MeasurementSpec(min_repeat_seconds=2, max_spread_ratio=10),
    )
    (directory / "spec.json").write_text(spec.model_dump_json())
    command = [sys.executable, "-m", "infpop_runner.main", "--spec", "spec.json", "--result", "result.json"]
    start = time.perf_counter()
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    process = time.perf_counter() - start
    result = decode_result((directory / "result.json").read_text())
    (trial,) = result.trials
    if not isinstance(trial, Measured) or result.load_seconds is None or result.ended_at is None:
        raise SystemExit(f"not measured: {result.model_dump_json()}")
    useful = result.load_seconds + trial.measured_seconds
    wall = (result.ended_at - result.started_at).total_seconds()
    return {"run_seconds": wall - useful, "process_seconds": process - useful}


def main() -> None:
    """Measure both engines and write medians to `results/overhead.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    report = {}
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        tiny_model = [sys.executable, "-m", "infpop_runner.engines.tiny_model", str(directory / "model")]
        subprocess.run(tiny_model, check=True, capture_output=True)
        for engine in ("vllm", "hf-pipeline"):
            taken = [overhead(engine, directory) for _ in range(runs)]
            report[engine] = {name: statistics.median(run[name] for run in taken) for name in taken[0]}
            print(engine, ", ".join(f"{name} {value:.2f}" for name, value in report[engine].items()), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "overhead.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
