"""A runner that misbehaves in one chosen way: `stand_in_runner.py WAY --spec ... --result ... --lifeline-fd ...`."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """Misbehave."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way")
    parser.add_argument("--spec", type=Path)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--port-file", type=Path)
    parser.add_argument("--lifeline-fd", type=int)
    options = parser.parse_args()
    return int(WAYS[options.way](options) or 0)


def _partial(options: argparse.Namespace, *, complete: bool = False) -> None:
    """Write a result with the first trial of the spec, as a runner does after every trial."""
    spec = json.loads(options.spec.read_text())
    trial = spec["trials"][0]
    absent = ("batch_seconds_p50", "batch_seconds_p95", "gpu_memory_peak_bytes", "pad_ratio")
    numbers = {"throughput_tokens_per_second": 50.0, "spread_ratio": 0.0, "repeats": 3, "generated_tokens": 1}
    measured = {
        **numbers,
        "outcome": "measured",
        "index": trial["index"],
        "batch_size": trial["batch_size"],
        "measured_seconds": 1.0,
        "missing": dict.fromkeys(absent, "StandIn"),
    }
    result = {
        "run": spec["run"],
        "trials": [measured],
        "load_seconds": 1.0,
        "provenance": {"engine": "stand-in"},
        "started_at": "2026-01-01T00:00:00Z",
        "ended_at": "2026-01-01T00:00:09Z" if complete else None,
    }
    draft = options.result.with_suffix(".draft")
    draft.write_text(json.dumps(result))
    draft.replace(options.result)


def rubbish(options: argparse.Namespace) -> None:
    """Write an invalid result."""
    options.result.write_text("50 tokens/s, more or less")


def foreign(options: argparse.Namespace) -> None:
    """Write the result of another run."""
    _partial(options, complete=True)
    options.result.write_text(options.result.read_text().replace("study-1", "study-7"))


def crash(_: argparse.Namespace) -> int:
    """Print a colourful last message and fail."""
    sys.stderr.write("loading\n\x1b[31mValueError: no such thing\x1b[0m\n")
    return 3


def silent(_: argparse.Namespace) -> None:
    """Exit with success, without a result."""


def crash_after_one(options: argparse.Namespace) -> int:
    """Measure the first trial and die."""
    _partial(options)
    return 1


def stubborn(options: argparse.Namespace) -> None:
    """Start a process of its own in another session, ignore every request to end, and hang."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
    _partial(options)
    time.sleep(3600)


def orphaning(options: argparse.Namespace) -> None:
    """Leave a process behind after a complete result."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
    _partial(options, complete=True)


def lingering(options: argparse.Namespace) -> None:
    """Write a complete result and never end."""
    _partial(options, complete=True)
    time.sleep(3600)


def show_environment(options: argparse.Namespace) -> None:
    """Write down which devices the process sees."""
    shown = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SHARED_SECRET")}  # noqa: TID251
    (options.result.parent / "environment.json").write_text(json.dumps(shown))
    _partial(options, complete=True)


WAYS = {
    way.__name__.replace("_", "-"): way
    for way in (rubbish, foreign, crash, silent, crash_after_one, stubborn, orphaning, lingering, show_environment)
}

if __name__ == "__main__":
    raise SystemExit(main())
