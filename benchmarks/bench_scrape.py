"""How long finished runs are held for Prometheus: idle time of a GPU, at several scrape intervals.

Real runner processes with the simulated engine, and a real Prometheus that finds them through a file. Runs last between
one and two intervals, spread evenly, so that they end at any moment between two scrapes; the next scrape is then half
an interval away on average, and no run can be released faster without knowing when it comes.

    python benchmarks/bench_scrape.py [--runs 120] [--intervals 5 15 30]
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from engines.specs import make_simulated_spec  # noqa: E402
from infpop_runner.contract import RunResult, decode_result  # noqa: E402
from prometheus.server import PrometheusServer  # noqa: E402

RESULTS = HERE / "results"
LOOK_SECONDS = 0.2


def start(directory: Path, number: int, *, interval_seconds: float, share: float) -> subprocess.Popen[bytes]:
    """Start a run that loads for one to two intervals; `share`, from 0 to 1, sets how much more than one."""
    spec = make_simulated_spec(
        namespace="bench",
        run=f"run-{number}",
        simulation={"load_seconds": interval_seconds * (1 + share)},
        scrape_grace_seconds=10 * interval_seconds,
    )
    folder = directory / f"run-{number}"
    folder.mkdir()
    (folder / "spec.json").write_text(spec.model_dump_json())
    command = [sys.executable, "-m", "infpop_runner.main", "--spec", "spec.json", "--result", "result.json"]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([*command, "--port-file", "port"], cwd=folder, stdout=log, stderr=log)


def port(folder: Path) -> int | None:
    """Return the metrics port of a run, None while it has none."""
    with suppress(FileNotFoundError):
        return int((folder / "port").read_text())
    return None


def results(directory: Path, runs: int, *, interval_seconds: float) -> list[RunResult]:
    """Execute the runs and return their results."""
    targets = directory / "targets.json"
    targets.write_text("[]")
    job = {"job_name": "runners", "file_sd_configs": [{"files": [str(targets)]}]}
    with PrometheusServer(directory / "prometheus", [job], interval_seconds=interval_seconds, reload_seconds=5):
        processes = [
            start(directory, number, interval_seconds=interval_seconds, share=number / runs) for number in range(runs)
        ]
        known: set[int] = set()
        while any(process.poll() is None for process in processes):
            ports = {found for number in range(runs) if (found := port(directory / f"run-{number}")) is not None}
            if ports != known:
                known = ports
                targets.write_text(json.dumps([{"targets": [f"127.0.0.1:{each}" for each in sorted(known)]}]))
            time.sleep(LOOK_SECONDS)
    return [decode_result((directory / f"run-{number}" / "result.json").read_text()) for number in range(runs)]


def figures(held_seconds: list[float], interval_seconds: float) -> dict[str, Any]:
    """Return a summary of the seconds; GPU-seconds are these times the GPUs of a run."""
    return {
        "interval_seconds": interval_seconds,
        "runs": len(held_seconds),
        "held_seconds_mean": round(mean(held_seconds), 3),
        "held_seconds_p50": round(median(held_seconds), 3),
        "held_seconds_p95": round(quantiles(held_seconds, n=20)[-1], 3),
        "held_seconds_max": round(max(held_seconds), 3),
        "mean_to_half_interval_ratio": round(mean(held_seconds) / (interval_seconds / 2), 3),
    }


def main() -> None:
    """Measure at each interval and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=120, help="runs at each interval, all at the same time")
    parser.add_argument("--intervals", type=float, nargs="+", default=[5.0, 15.0, 30.0], help="seconds between scrapes")
    arguments = parser.parse_args()
    rows = []
    for interval_seconds in arguments.intervals:
        with tempfile.TemporaryDirectory(prefix="infpop-bench-") as directory:
            found = results(Path(directory), arguments.runs, interval_seconds=interval_seconds)
        held = [result.held_seconds for result in found if result.held_seconds is not None]
        if len(held) != len(found):
            raise SystemExit(f"{len(found) - len(held)} runs were not held")
        rows.append(figures(held, interval_seconds))
        print(json.dumps(rows[-1]))
    document = {
        "benchmark": "idle time of a finished run until Prometheus has seen its last values",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - an edge
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "intervals": rows,
    }
    (RESULTS / "scrape.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
