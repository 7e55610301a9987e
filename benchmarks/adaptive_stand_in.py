"""The arithmetic of adaptive measurement alone: engines with known step times, and noise as machines have it.

The prompts, their order, the blocks and all rules are the runner's own; only time is made up. So the true throughput of
a whole pass is known, and what differs is not the machine. Written into `results/adaptive.json` as `stand_in`.

    python benchmarks/adaptive_stand_in.py [--json FILE]
"""

import argparse
import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from infpop_operator.core.objective import TIE_RATIO
from infpop_runner.contract import BuiltinSource, Invalid, Measured, MeasurementSpec, TrialSpec, WorkloadSpec
from infpop_runner.engines.prompt_set import PromptSet
from infpop_runner.measure import (
    FULL_BATCHES_PER_PASS,
    AdaptivePlan,
    Block,
    Interval,
    PassOutcome,
    TextPrompts,
    TrialActions,
    TrialReport,
    Vocabulary,
    measure_adaptively,
    measure_trial,
    pass_length,
    sequential_batch_seconds,
    steady_batch_seconds,
)
from infpop_runner.workload import load_prompts

RESULTS = Path(__file__).parent / "results"
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SAMPLES = 1033
VARIANTS = ((5, 1.0), (5, 20.0), (64, 1.0))  # new tokens, and how much slower than a fast GPU
CHARACTERS_PER_TOKEN = 3
NOISES = ((0.0, 2.0), *((ratio, lasting) for lasting in (2.0, 10.0) for ratio in (0.01, 0.03, 0.1)))
TOKENS_PER_STEP = 8192
CALL_SECONDS = 0.005  # of a call around its batches, as fast or slow as the batches may be
RULES = MeasurementSpec()
NAMES = ("batch_seconds_p50", "batch_seconds_p95", "concurrency_peak", "gpu_memory_peak_bytes", "pad_ratio")
Prompts = Sequence[tuple[int, ...]]


@dataclass(kw_only=True)
class Noise:
    """Noise of a machine: slow moments last `lasting` seconds on average, with a standard deviation of `ratio`."""

    ratio: float
    lasting: float
    random: Random
    state: float = 0.0

    def stretch(self, seconds: float) -> float:
        """Return how long something takes that would take `seconds`."""
        kept = math.exp(-seconds / self.lasting)
        self.state = kept * self.state + math.sqrt(1 - kept * kept) * self.random.gauss(0, 1)
        return seconds * max(0.1, 1 + self.ratio * self.state)


@dataclass(kw_only=True)
class StandIn:
    """An engine with known step times: a queue with continuous batching as vLLM has, or batch by batch as pipelines."""

    prompts: PromptSet
    new_tokens: int
    slowness: float
    noise: Noise
    queues: bool
    clock: float = 0.0

    @property
    def fewest_batches(self) -> int:
        """The fewest batches of a block."""
        return FULL_BATCHES_PER_PASS if self.queues else 1

    def run_pass(self, batch_size: int) -> PassOutcome:
        """Run a whole pass."""
        prompts = self.prompts.of_pass(batch_size) if self.queues else self.prompts.of_sorted_pass(batch_size)
        return self._run(prompts, batch_size)

    def run_block(self, batch_size: int, first: int, batches: int) -> Block:
        """Run some batches, and estimate a pass as the engine of this kind does."""
        if self.queues:
            chosen = self.prompts.of_block(batch_size, first, batches)
            length_ratio = self.prompts.queue_length_ratio(chosen, batch_size)
        else:
            chosen, length_ratio = self.prompts.of_sorted_block(batch_size, first, batches)
        outcome = self._run(chosen, batch_size)
        times = outcome.intervals or ()
        left = pass_length(samples=SAMPLES, batch_size=batch_size) // batch_size - batches
        if not left:
            one = 0.0
        elif self.queues:
            one = steady_batch_seconds(times, batch_size=batch_size)
        else:
            one = sequential_batch_seconds(times[::batch_size], seconds=outcome.seconds)
        return Block(outcome=outcome, pass_seconds=outcome.seconds + left * one, length_ratio=length_ratio)

    def _run(self, prompts: Prompts, batch_size: int) -> PassOutcome:
        start = self.clock
        self.clock += CALL_SECONDS
        times = self._queue(prompts, batch_size) if self.queues else self._batches(prompts, batch_size)
        return PassOutcome(
            seconds=self.clock - start, generated=(self.new_tokens,) * len(prompts), intervals=tuple(times)
        )

    def _queue(self, prompts: Prompts, batch_size: int) -> list[Interval]:
        """Run steps: each one generates an id of every running sequence, and reads as many new prompts as fit."""
        waiting = deque(map(len, prompts))
        running: deque[tuple[float, int]] = deque()  # since when, ids still to come; the oldest first
        done: list[Interval] = []
        while waiting or running:
            decoding, prefill, started = len(running), 0, self.clock
            while waiting and len(running) < batch_size and decoding + prefill + waiting[0] <= TOKENS_PER_STEP:
                prefill += waiting.popleft()
                running.append((started, self.new_tokens))
            self._take(0.008 + 6e-5 * prefill + 1e-4 * decoding)
            running = deque((since, left - 1) for since, left in running)
            while running and running[0][1] == 0:
                done.append((running.popleft()[0], self.clock))
        return done

    def _batches(self, prompts: Prompts, batch_size: int) -> list[Interval]:
        times: list[Interval] = []
        for start in range(0, len(prompts), batch_size):
            rows = prompts[start : start + batch_size]
            padded, begin = max(map(len, rows)), self.clock
            self._take(0.03 * self.new_tokens + 1e-4 * len(rows) * padded + 2e-8 * len(rows) * padded**2)
            times += [(begin, self.clock)] * len(rows)
            self._take(0.002)
        return times

    def _take(self, seconds: float) -> None:
        self.clock += self.noise.stretch(self.slowness * seconds)


def measure(engine: StandIn, batch_size: int, mode: str) -> Measured | None:
    """Measure a batch size by the runner's rules; None if its parts disagree."""
    trial = TrialSpec(index=0, batch_size=batch_size)
    report = TrialReport(
        max_new_tokens=engine.new_tokens,
        memory_peak_bytes=lambda: None,
        missing_reasons=dict.fromkeys(NAMES, "StandIn"),
    )
    actions = TrialActions(
        warm_up=lambda: None,
        run_pass=lambda: engine.run_pass(batch_size),
        run_block=lambda first, batches: engine.run_block(batch_size, first, batches),
        observe=lambda _: None,
        clock=lambda: engine.clock,
        throttled_seconds=lambda: None,
    )
    plan = AdaptivePlan.of(
        RULES,
        samples=SAMPLES,
        batch_size=batch_size,
        new_tokens=engine.new_tokens,
        fewest_batches=engine.fewest_batches,
    )
    result = (
        measure_trial(trial, RULES, report, actions)
        if mode == "full"
        else measure_adaptively(trial, RULES.model_copy(update={"mode": mode}), plan, report, actions)
    )
    if isinstance(result, Invalid):
        return None
    if not isinstance(result, Measured):
        raise TypeError(f"nothing was to beat, got {result}")
    return result


def prompt_set() -> PromptSet:
    """Return prompts that are as long as those of the built-in set."""
    loaded = load_prompts(WorkloadSpec(source=BuiltinSource(), samples=SAMPLES, max_new_tokens=1), seed=0)
    if not isinstance(loaded, TextPrompts):
        raise TypeError("the built-in workload is text")
    ids = tuple((0,) * (1 + len(text) // CHARACTERS_PER_TOKEN) for text in loaded.texts)
    return PromptSet(distinct=ids, vocabulary=Vocabulary(size=1, special_ids=frozenset()), seed=0)


def cells(noise_ratio: float, lasting: float, prompts: PromptSet) -> list[dict[str, Any]]:
    """Measure every cell once in each mode, and compare both with the true throughput."""
    rows = []
    for queues in (True, False):
        for new_tokens, slowness in VARIANTS:
            for batch_size in BATCH_SIZES:
                row: dict[str, Any] = {"queues": queues, "new_tokens": new_tokens, "slowness": slowness}
                row["batch_size"] = batch_size
                true = make_engine(0.0, lasting, prompts, row, 0).run_pass(batch_size)
                rate = sum(true.generated) / true.seconds
                for number, mode in enumerate(("full", "adaptive")):
                    engine = make_engine(noise_ratio, lasting, prompts, row, 1000 * number + batch_size)
                    result = measure(engine, batch_size, mode)
                    if result is None:
                        continue
                    row[mode] = {
                        "error": result.throughput_tokens_per_second / rate - 1,
                        "seconds": result.measured_seconds,
                    }
                    if result.interval_tokens_per_second is not None:
                        low, high = result.interval_tokens_per_second
                        row[mode]["inside"] = low <= rate <= high
                rows.append(row)
    return rows


def make_engine(noise_ratio: float, lasting: float, prompts: PromptSet, row: Mapping[str, Any], seed: int) -> StandIn:
    """Return the engine of a row, with noise that lasts so many seconds."""
    kind = {name: row[name] for name in ("queues", "new_tokens", "slowness")}
    noise = Noise(ratio=noise_ratio, lasting=lasting, random=Random(f"{seed}:{kind}"))
    return StandIn(prompts=prompts, noise=noise, **kind)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how far both modes are from the truth and from each other, and what the shorter one saves."""
    both = [row for row in rows if "full" in row and "adaptive" in row]
    between = [(1 + row["adaptive"]["error"]) / (1 + row["full"]["error"]) - 1 for row in both]
    seconds = {mode: sum(row[mode]["seconds"] for row in both) for mode in ("full", "adaptive")}
    shares = [row["adaptive"]["seconds"] / row["full"]["seconds"] for row in both]
    return {
        "cells": len(both),
        "mean_error": {mode: fmean(row[mode]["error"] for row in both) for mode in seconds},
        "largest_error": {mode: max(abs(row[mode]["error"]) for row in both) for mode in seconds},
        "share_within_1_percent_of_truth": {
            mode: fmean(abs(row[mode]["error"]) <= TIE_RATIO for row in both) for mode in seconds
        },
        "share_within_1_percent_of_each_other": fmean(abs(ratio) <= TIE_RATIO for ratio in between),
        "share_of_intervals_with_the_truth": fmean(row["adaptive"]["inside"] for row in both),
        "seconds": {**seconds, "saved_ratio": 1 - seconds["adaptive"] / seconds["full"]},
        "share_of_seconds": {"geometric_mean": math.exp(fmean(map(math.log, shares))), "largest": max(shares)},
    }


def main() -> None:
    """Measure all cells without noise, and with each noise for each time that it lasts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "adaptive.json")
    path = parser.parse_args().json
    prompts = prompt_set()
    found = {}
    for noise_ratio, lasting in NOISES:
        name = f"noise_{noise_ratio:g}" + (f"_lasting_{lasting:g}_s" if noise_ratio else "")
        found[name] = summary(cells(noise_ratio, lasting, prompts))
        print(name, json.dumps(found[name]), flush=True)
    report = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(report | {"stand_in": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
