"""Tuning end to end on real engines: what the search, shared loads and adaptive measurement save, and whether they err.

Each engine's quickstart example is tuned twice, with prompts of 32 tokens, so that a pass takes seconds. `grid`: every
configuration with a load of its own, measured in full. `landscape`: batch sizes share loads where that pays
(`trialsPerRun: auto`), measurement is adaptive, the search ends when it is 90 % sure, and the best is confirmed. The
grid's own number of the other's best says whether both found the same within the noise. With `--before` the two
commands of `make quickstart` are timed with an earlier version, too.

On a shared machine wall times follow its load; the CPU time of all processes of a command says more. It lacks engine
processes that were killed before anybody waited for them. Engines have one thread each: two threads on two busy cores
wait for each other so long that even a tiny model runs into the time-out of its measurement.

    python benchmarks/bench_end_to_end.py [--engine vllm|hf-pipeline] [--one-rank] [--search NAME] [--before CHECKOUT]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
REPORT = HERE / "results" / "end-to-end.json"
EXAMPLES = {"vllm": "quickstart.yaml", "hf-pipeline": "quickstart-hf.yaml"}
# A busy machine must not end a trial, and the built-in prompts take minutes at the largest batch size.
COMMON = {
    "workload": {"source": {"synthetic": {"promptTokens": 32}}},
    "measurement": {"timeouts": {"load": "30m", "measure": "30m"}},
}
VARIANTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "grid": {
        "algorithm": {"name": "grid", "trialsPerRun": 1},
        "measurement": {"mode": "Full"},
        "budget": {"maxTrials": 8, "maxConcurrentGPUs": 2, "confirm": False},
    },
    "landscape": {
        "algorithm": {"name": "landscape", "trialsPerRun": "auto"},
        "measurement": {"mode": "Adaptive"},
        "budget": {"maxTrials": 8, "maxConcurrentGPUs": 2, "confirm": True, "plateau": {"confidence": "0.9"}},
    },
}


def main() -> None:
    """Tune each engine both ways, or time the examples; write or complete `results/end-to-end.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=EXAMPLES, action="append", help="only this engine; may be repeated")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="time the examples of this version and of ours")
    parser.add_argument("--one-rank", action="store_true", help="only a GPU count of 1, for a busy machine")
    parser.add_argument(
        "--search", choices=VARIANTS, action="append", help="tune again only in this way; keep the rest"
    )
    options = parser.parse_args()
    engines = options.engine or list(EXAMPLES)
    report = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    report["cores"] = os.cpu_count()
    for engine in engines:
        if options.before:
            report.setdefault("quickstart", {})[engine] = time_examples(engine, options.before.resolve())
        else:
            report.setdefault("searches", {})[engine] = compare_searches(
                engine,
                one_rank=options.one_rank,
                searches=options.search or list(VARIANTS),
                earlier=report.get("searches", {}).get(engine, {}),
            )
        REPORT.write_text(json.dumps(report, indent=2) + "\n")


def compare_searches(
    engine: str, *, one_rank: bool, searches: Sequence[str], earlier: Mapping[str, Any]
) -> dict[str, object]:
    """Return what each way of tuning needed and found, and how good the second's best is by the first's numbers."""
    document = yaml.safe_load((REPOSITORY / "examples" / EXAMPLES[engine]).read_text())
    common = _changed(document, COMMON | ({"searchSpace": {"gpuCount": [1]}} if one_rank else {}))
    taken = {
        name: tune(_changed(common, changes), REPOSITORY) if name in searches else earlier[name]
        for name, changes in VARIANTS.items()
    }
    full = {(row["gpuCount"], row["batchSize"]): row for row in taken["grid"]["trials"]}
    best, chosen = (taken[name]["best"] for name in VARIANTS)
    again = None if chosen is None else full.get((chosen["gpuCount"], chosen["batchSize"]), {}).get("throughput")
    ratio = None if best is None or again is None else round(float(again) / float(best["throughput"]), 4)
    print(f"{engine}: the grid measured the other's best at {ratio} of its own best", flush=True)
    return {"space": common["spec"]["searchSpace"], **taken, "chosen_to_best_by_the_grid": ratio}


def time_examples(engine: str, before: Path) -> dict[str, object]:
    """Return what the example's command needs with an earlier version, each with its own example, and with this one."""
    taken = {}
    for name, tree in (("before", before), ("after", REPOSITORY)):
        document = yaml.safe_load((tree / "examples" / EXAMPLES[engine]).read_text())
        taken[name] = tune(document, tree)
    return taken


def tune(document: Mapping[str, Any], tree: Path) -> dict[str, Any]:
    """Tune with the version in `tree`; return seconds, loads and the best."""
    code = f"{tree / 'operator'}{os.pathsep}{tree / 'runner'}"
    environment = {**os.environ, "PYTHONPATH": code, "OMP_NUM_THREADS": "1"}  # noqa: TID251 - an edge
    with tempfile.TemporaryDirectory() as temporary:
        study, output = Path(temporary) / "study.yaml", Path(temporary) / "output"
        study.write_text(yaml.safe_dump(document))
        command = [str(Path(sys.executable).parent / "infpop"), "tune", str(study), "--output", str(output), "--json"]
        load_before, cpu, start = os.getloadavg(), _children_cpu(), time.perf_counter()
        done = subprocess.run(command, check=False, env=environment, stdout=subprocess.PIPE, text=True)
        wall, cpu = time.perf_counter() - start, _children_cpu() - cpu
        if not done.stdout:
            raise SystemExit(f"no status, exit code {done.returncode}")
        status = json.loads(done.stdout)
        results = [json.loads(path.read_text()) for path in sorted(output.glob("runs/*/result.json"))]
    summary = {
        "exit_code": done.returncode,
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "loads": sum(result.get("load_seconds") is not None for result in results),
        "runs": len(results),
        "load_seconds": round(sum(result.get("load_seconds") or 0 for result in results), 1),
        "measured_seconds": round(
            sum(trial.get("measured_seconds", 0) for result in results for trial in result["trials"]), 1
        ),
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "best": status.get("best"),
        "trials": [
            {key: trial.get(key) for key in ("gpuCount", "batchSize", "state", "reason", "throughput", "spread")}
            for trial in status["trials"]
        ],
        "ready": next(each["message"] for each in status["conditions"] if each["type"] == "Ready"),
    }
    shown = {key: summary[key] for key in ("exit_code", "wall_seconds", "cpu_seconds", "loads", "best", "ready")}
    print(f"{document['metadata']['name']}: {shown}", flush=True)
    return summary


def _changed(document: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    spec = dict(document["spec"])
    for name, change in changes.items():
        # A budget is replaced: what it leaves out is part of what is compared.
        spec[name] = dict(change) if name == "budget" else {**spec.get(name, {}), **change}
    return {**document, "spec": spec}


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
