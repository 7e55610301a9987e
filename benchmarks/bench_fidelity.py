"""Fidelity: InfPop's tokens/s against an external harness on the same loaded engine, alternating, in one process.

For vLLM the reference is the timed part of `vllm bench throughput`, called with the same engine, prompts and output
length; for Hugging Face pipelines it is the usual loop around `model.generate`. Loading only once removes the largest
source of noise: on a shared machine two loads of the same engine differ by more than any two harnesses. The order
alternates (A B, B A, ...), so that drift of the machine favours neither side. Results are ratios InfPop / reference.

Two differences remain: `vllm bench throughput` samples at temperature 1 where InfPop decodes greedily, and it passes
text, which is tokenised inside its timed part.

    python benchmarks/bench_fidelity.py [--pairs 10] [--engine vllm|hf-pipeline]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from infpop_runner.contract import (
    BuiltinSource,
    EngineSpec,
    MeasurementSpec,
    ModelSpec,
    RunSpec,
    TrialSpec,
    WorkloadSpec,
)
from infpop_runner.engines import LoadRequest, find_loader
from infpop_runner.engines.environment import build_environment
from infpop_runner.measure import TextPrompts
from infpop_runner.workload import load_prompts

HERE = Path(__file__).parent
RESULTS = HERE / "results"
BATCH_SIZE, PROMPTS, NEW_TOKENS = 16, 64, 16
Measure = Callable[[], float]


def run_spec(engine: str, model: Path) -> RunSpec:
    """Return the run whose only trial is compared."""
    return RunSpec(
        study="fidelity",
        pool="cpu",
        round=1,
        run="fidelity",
        model=ModelSpec(name=str(model), dtype="bfloat16"),
        engine=EngineSpec(name=engine, enforce_eager=True, max_num_batched_tokens=4096),
        workload=WorkloadSpec(source=BuiltinSource(), samples=PROMPTS, max_new_tokens=NEW_TOKENS),
        device="cpu",
        gpu_count=1,
        trials=(TrialSpec(index=0, batch_size=BATCH_SIZE),),
        measurement=MeasurementSpec(),
    )


def load(spec: RunSpec) -> tuple[Any, tuple[str, ...]]:
    """Return the loaded engine and the texts of its prompts."""
    cores = len(os.sched_getaffinity(0))
    os.environ.update(build_environment(spec, current=os.environ, devices=(), cores=cores))  # noqa: TID251 - an edge
    prompts = load_prompts(spec.workload, seed=spec.seed)
    if not isinstance(prompts, TextPrompts):
        raise TypeError("the built-in workload is text")
    request = LoadRequest(
        spec=spec,
        prompts=prompts,
        batch_sizes=(BATCH_SIZE,),
        clock=time.perf_counter,
        wait=time.sleep,
        memory_used_bytes=lambda: None,
    )
    return find_loader(spec.engine.name)(request), prompts.texts


def ours(engine: Any) -> Measure:  # noqa: ANN401 - either engine
    """Return InfPop's own measurement of one pass."""

    def measure() -> float:
        outcome = engine.run_pass(BATCH_SIZE)
        return sum(outcome.generated) / outcome.seconds

    return measure


def vllm_bench(engine: Any, texts: tuple[str, ...]) -> Measure:  # noqa: ANN401 - our vLLM engine
    """Return the timed part of `vllm bench throughput`: same `LLM`, its own requests, sampling and clock."""
    throughput = import_module("vllm.benchmarks.throughput")
    tokenizer = engine._llm.get_tokenizer()
    requests = [
        throughput.SampleRequest(prompt=text, prompt_len=len(tokenizer.encode(text)), expected_output_len=NEW_TOKENS)
        for text in texts
    ]

    def measure() -> float:
        timed = throughput._run_vllm_requests
        options = dict.fromkeys(("do_profile", "prequeue_requests", "enable_lora"), False) | {
            "disable_detokenize": True
        }
        elapsed, outputs = timed(engine._llm, requests, n=1, **options)
        return sum(len(output.outputs[0].token_ids) for output in outputs) / elapsed

    return measure


def plain_loop(engine: Any, texts: tuple[str, ...]) -> Measure:  # noqa: ANN401 - our pipeline engine
    """Return the usual loop: tokenise and pad a batch, generate, count; longest batches first."""
    torch = import_module("torch")
    model, tokenizer = engine._pipe.model, engine._pipe.tokenizer
    ordered = sorted(texts, key=lambda text: -len(tokenizer(text)["input_ids"]))
    batches = [ordered[start : start + BATCH_SIZE] for start in range(0, len(ordered), BATCH_SIZE)]
    limits = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False}

    def measure() -> float:
        tokens, start = 0, time.perf_counter()
        with torch.inference_mode():
            for batch in batches:
                inputs = tokenizer(batch, return_tensors="pt", padding=True)
                output = model.generate(**inputs, **limits, pad_token_id=tokenizer.pad_token_id)
                tokens += (output.shape[1] - inputs["input_ids"].shape[1]) * output.shape[0]
        return tokens / (time.perf_counter() - start)

    return measure


def compare(engine: str, model: Path, pairs: int) -> dict[str, object]:
    """Measure `pairs` pairs after a warm-up of both sides; return their ratios with median and extremes."""
    loaded, texts = load(run_spec(engine, model))
    mine = ours(loaded)
    try:
        reference = (vllm_bench if engine == "vllm" else plain_loop)(loaded, texts)
        loaded.warm_up(BATCH_SIZE)
        mine(), reference()
        rows = []
        for pair in range(pairs):
            sides = (mine, reference) if pair % 2 == 0 else (reference, mine)
            values = {side: side() for side in sides}
            rows.append(
                {"ours": values[mine], "reference": values[reference], "ratio": values[mine] / values[reference]}
            )
            print(f"{engine} pair {pair + 1}: " + ", ".join(f"{k} {v:.4g}" for k, v in rows[-1].items()), flush=True)
    finally:
        loaded.close()
    ratios = [row["ratio"] for row in rows]
    return {"median_ratio": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "pairs": rows}


def main() -> None:
    """Compare one engine, or each in its own process, and write `results/fidelity-ENGINE.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--engine", choices=["vllm", "hf-pipeline"])
    options = parser.parse_args()
    if options.engine is None:
        for engine in ("vllm", "hf-pipeline"):
            command = [sys.executable, __file__, "--pairs", str(options.pairs), "--engine", engine]
            subprocess.run(command, check=True)
        return
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / "model"
        make_model = [sys.executable, str(HERE / "bench_model.py"), str(model)]
        subprocess.run(make_model, check=True, capture_output=True)
        report = compare(options.engine, model, options.pairs)
    print(f"{options.engine}: median ratio {report['median_ratio']:.4f} ({report['min']:.4f} to {report['max']:.4f})")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"fidelity-{options.engine}.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
