"""Fidelity: our tokens/s against an outside reference, in turn, on one machine, in one run.

For vLLM the reference is `vllm bench throughput`, for Hugging Face pipelines a plain transformers loop; each pair uses
the same model, prompts, limits and batch size. Figures are ratios ours / reference, one per pair. Every side of every
pair is a fresh process, so that no side profits from the other's caches; the order alternates (A B, B A, ...), so
that a machine that drifts favours nobody.

    python benchmarks/bench_fidelity.py [--pairs 5] [--engine vllm|hf-pipeline|both]
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from infpop_runner.contract import (
    EngineSpec,
    FileSource,
    Measured,
    MeasurementSpec,
    ModelSpec,
    RunResult,
    RunSpec,
    TrialSpec,
    WorkloadSpec,
    decode_result,
)

HERE = Path(__file__).parent
RESULTS = HERE / "results"
BATCH_SIZE, PROMPTS, NEW_TOKENS, REPEATS = 16, 64, 16, 3
LONGEST = 2048
CPU = {  # what the runner sets for itself; the reference gets the same, or it would run on one thread
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def ours(engine: str, directory: Path) -> float:
    """Return the tokens/s that `infpop-runner` measures."""
    spec = RunSpec(
        study="fidelity",
        pool="cpu",
        round=1,
        run="fidelity",
        model=ModelSpec(name=str(directory / "model"), dtype="bfloat16"),
        engine=EngineSpec(name=engine, enforce_eager=True, max_num_batched_tokens=4096),
        workload=WorkloadSpec(
            source=FileSource(path=str(directory / "prompts.jsonl")), samples=PROMPTS, max_new_tokens=NEW_TOKENS
        ),
        device="cpu",
        gpu_count=1,
        trials=(TrialSpec(index=0, batch_size=BATCH_SIZE),),
        measurement=MeasurementSpec(min_repeat_seconds=0, repeats=REPEATS, max_spread_ratio=10),
    )
    (directory / "spec.json").write_text(spec.model_dump_json())
    command = [sys.executable, "-m", "infpop_runner.main", "--spec", "spec.json", "--result", "result.json"]
    run(command, directory)
    (trial,) = decode_result((directory / "result.json").read_text()).trials
    if not isinstance(trial, Measured):
        raise SystemExit(f"not measured: {trial}")
    return trial.throughput_tokens_per_second


def vllm_bench(directory: Path) -> float:
    """Return the generated tokens/s of `vllm bench throughput`, from its elapsed time."""
    options = {
        "model": "model",
        "dtype": "bfloat16",
        "dataset-name": "sharegpt",
        "dataset-path": "conversations.json",
        "output-len": NEW_TOKENS,
        "num-prompts": PROMPTS,
        "num-warmups": BATCH_SIZE,
        "max-num-seqs": BATCH_SIZE,
        "max-num-batched-tokens": 4096,
        "max-model-len": LONGEST,
        "output-json": "bench.json",
    }
    command = [sys.executable, str(HERE / "vllm_bench_throughput.py")]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    run([*command, "--no-enable-prefix-caching", "--enforce-eager", "--disable-detokenize"], directory)
    report = json.loads((directory / "bench.json").read_text())
    same_ids = decode_result((directory / "result.json").read_text()) if (directory / "result.json").exists() else None
    if same_ids is not None:
        check_same_prompts(same_ids, report["total_num_tokens"])
    return report["num_requests"] * NEW_TOKENS / report["elapsed_time"]


def check_same_prompts(result: RunResult, total_tokens: int) -> None:
    """End the benchmark if the reference read other prompts than our run did."""
    mean = result.provenance.prompt_tokens_mean or 0.0
    if abs(PROMPTS * (mean + NEW_TOKENS) - total_tokens) > 1:
        raise SystemExit(f"the reference had {total_tokens} tokens, ours {PROMPTS * (mean + NEW_TOKENS):.0f}")


def plain_loop(directory: Path) -> float:
    """Return the tokens/s of the plain transformers loop."""
    script = [sys.executable, str(HERE / "plain_loop.py")]
    limits = [str(number) for number in (BATCH_SIZE, NEW_TOKENS, REPEATS)]
    output = run([*script, "model", "prompts.jsonl", *limits], directory)
    return json.loads(output.splitlines()[-1])["tokens_per_second"]


def run(command: list[str], directory: Path) -> str:
    """Run a command in `directory` and return its output; a failure ends the benchmark with the command's own words."""
    environment = {**os.environ, **CPU}  # noqa: TID251 - a benchmark is an edge
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def compare(engine: str, reference: Callable[[Path], float], directory: Path, pairs: int) -> dict[str, object]:
    """Measure `pairs` pairs and return their ratios with median and spread."""
    rows = []
    for pair in range(pairs):
        if pair % 2 == 0:
            mine, theirs = ours(engine, directory), reference(directory)
        else:
            theirs, mine = reference(directory), ours(engine, directory)
        rows.append({"ours": mine, "reference": theirs, "ratio": mine / theirs})
        shown = f"ours {mine:.1f}, reference {theirs:.1f} tokens/s, ratio {mine / theirs:.4f}"
        print(f"{engine} pair {pair + 1}: {shown}", flush=True)
    ratios = [row["ratio"] for row in rows]
    summary = {"median_ratio": statistics.median(ratios), "min_ratio": min(ratios), "max_ratio": max(ratios)}
    print(f"{engine}: median ratio {summary['median_ratio']:.4f} ({min(ratios):.4f} to {max(ratios):.4f})", flush=True)
    return {**summary, "pairs": rows}


def main() -> None:
    """Run the pairs of the chosen engines and write `results/fidelity.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--engine", choices=["vllm", "hf-pipeline", "both"], default="both")
    arguments = parser.parse_args()
    references = {"vllm": vllm_bench, "hf-pipeline": plain_loop}
    chosen = references if arguments.engine == "both" else {arguments.engine: references[arguments.engine]}
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / "fidelity.json"
    report = json.loads(target.read_text()) if target.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        run([sys.executable, str(HERE / "bench_model.py"), "model"], directory)
        write_prompts(directory / "prompts.jsonl")
        for engine, reference in chosen.items():
            report[engine] = compare(engine, reference, directory, arguments.pairs)
    target.write_text(json.dumps(report, indent=2) + "\n")


def write_prompts(path: Path) -> None:
    """Write the first built-in prompts as JSONL, and beside it in the form that `vllm bench throughput` reads."""
    packed = files("infpop_runner.workload").joinpath("data", "code-infilling-v1.jsonl.gz").read_bytes()
    lines = gzip.decompress(packed).decode().splitlines()[:PROMPTS]
    path.write_text("\n".join(lines) + "\n")
    turns = [[{"value": json.loads(line)["prompt"]}, {"value": "so many words"}] for line in lines]
    path.with_name("conversations.json").write_text(json.dumps([{"conversations": pair} for pair in turns]))


if __name__ == "__main__":
    main()
