"""How long a user or a reconcile waits for InfPop's code: imports and `infpop --help`, each in a fresh interpreter."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
RUNS = 11
EMPTY = [sys.executable, "-c", "pass"]
COMMANDS = {
    "import infpop_operator.core": [sys.executable, "-c", "import infpop_operator.core"],
    "import infpop_operator.core.decide": [sys.executable, "-c", "import infpop_operator.core.decide"],
    "infpop --help": [str(Path(sys.executable).with_name("infpop")), "--help"],
}


def seconds(command: list[str]) -> float:
    """Return the wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Time each command in turn with an empty interpreter and write medians to `results/startup.json`."""
    times: dict[str, list[float]] = {name: [] for name in ("empty interpreter", *COMMANDS)}
    for _ in range(RUNS):
        times["empty interpreter"].append(seconds(EMPTY))
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    report = {name: {"median": statistics.median(taken), "min": min(taken)} for name, taken in times.items()}
    for name, figures in report.items():
        print(f"{name}: median {figures['median']:.3f} s, min {figures['min']:.3f} s")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "startup.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
