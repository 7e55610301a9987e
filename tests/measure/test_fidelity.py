"""Comparing two harnesses: the clocks, the figures of the pairs, and InfPop's arithmetic on known step times."""

import subprocess
import sys
from random import Random
from types import SimpleNamespace

import pytest

from engines.specs import make_run_spec
from fidelity.arithmetic import measure
from fidelity.figures import Timing, estimate, median_of_ratios, ratio_of_medians, summarise
from fidelity.stand_in import (
    LENGTHS,
    PROMPT_TOKEN_SECONDS,
    SEQUENCE_SECONDS,
    STEP_SECONDS,
    FakeClock,
    StandInLLM,
    stand_in_prompts,
)
from fidelity.stopwatch import Stopwatch, cpu_clock, family
from infpop_runner.measure import PassOutcome

NEW_TOKENS = 8
# A child that works for a known CPU time, says so, and lives on as an engine core does.
WORKER = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"


class StandInEngine:
    """InfPop's side of the stand-in: times `generate` as every engine does."""

    about = SimpleNamespace(
        missing_reasons=dict.fromkeys(
            ("batch_seconds_p50", "batch_seconds_p95", "concurrency_peak", "gpu_memory_peak_bytes", "pad_ratio"),
            "StandIn",
        )
    )

    def __init__(self, llm: StandInLLM, clock: FakeClock) -> None:
        self._llm = llm
        self._clock = clock
        self._prompts = stand_in_prompts(100)

    def warm_up(self, batch_size: int) -> None:
        """Generate for other prompts, untimed."""
        self._generate(self._prompts.of_warm_up(batch_size))

    def run_pass(self, batch_size: int) -> PassOutcome:
        """Generate for the prompts of a pass, timed."""
        start = self._clock()
        outputs = self._generate(self._prompts.of_pass(batch_size))
        return PassOutcome(
            seconds=self._clock() - start, generated=tuple(len(output.outputs[0].token_ids) for output in outputs)
        )

    def _generate(self, prompts: object) -> list[object]:
        inputs = [{"prompt_token_ids": ids} for ids in prompts]
        return self._llm.generate(inputs, SimpleNamespace(max_tokens=NEW_TOKENS))


@pytest.mark.parametrize("batch_size", [1, 8, 32])
def test_a_trial_reports_the_tokens_over_the_known_time_of_its_steps(batch_size: int) -> None:
    """The median of repeats is within 0.1 % of what the step times of the engine add up to, without the warm-up."""
    clock = FakeClock()
    engine = StandInEngine(StandInLLM(clock, batch_size), clock)
    spec = make_run_spec(workload={"source": {"kind": "builtin"}, "samples": 11, "max_new_tokens": NEW_TOKENS})
    lengths = [len(ids) for ids in stand_in_prompts(100).of_pass(batch_size)]
    steps = len(lengths) / batch_size * NEW_TOKENS  # all sequences are as long, so each batch starts together
    seconds = steps * (STEP_SECONDS + SEQUENCE_SECONDS * batch_size) + PROMPT_TOKEN_SECONDS * sum(lengths)
    assert measure(engine, spec, batch_size, clock) == pytest.approx(len(lengths) * NEW_TOKENS / seconds, rel=1e-3)
    assert len(set(LENGTHS)) == len(LENGTHS)


def test_the_interval_of_a_known_ratio_contains_it_and_one_of_equal_sides_contains_1() -> None:
    """Of 100 comparisons at 5 % noise, at least 85 intervals contain the truth (95 expected)."""
    random = Random(3)
    right = 0
    for seed in range(20):
        for truth in (1.0, 0.9, 1.03, 1.2, 0.5):
            pairs = [(random.gauss(truth, 0.05 * truth), random.gauss(1, 0.05)) for _ in range(30)]
            found = estimate(ratio_of_medians, pairs, seed=seed, draws=400)
            right += found.low <= truth <= found.high
    assert right >= 85


def test_a_pair_that_is_far_off_counts_like_any_other() -> None:
    """No pair is dropped: half of the pairs twice as slow move the median."""
    calm, busy = (1.0, 1.0), (2.0, 1.0)
    assert estimate(ratio_of_medians, [calm] * 10 + [busy] * 11, seed=0, draws=100).value == 2
    with pytest.raises(ValueError, match="3 pairs or more, got 2"):
        estimate(ratio_of_medians, [calm] * 2, seed=0)


def test_pair_by_pair_a_drift_of_the_machine_cancels_out() -> None:
    """Where the machine becomes ten times slower on the way, each pair still has the ratio of its sides."""
    pairs = [(1.1 / slower, 1.0 / slower) for slower in range(1, 11)]
    found = estimate(median_of_ratios, pairs, seed=0, draws=100)
    assert (found.low, found.value, found.high) == pytest.approx((1.1, 1.1, 1.1))


def test_a_ratio_above_1_means_that_infpop_reports_more_tokens_per_second() -> None:
    """Wall and CPU time are told apart, and both ratios are ours over the reference."""
    pair = (
        Timing(tokens=100, wall_seconds=1, cpu_seconds=4),
        Timing(tokens=100, wall_seconds=2, cpu_seconds=1),
    )
    ratios = summarise([pair] * 3, seed=0)
    assert ratios["wall"].to_json() == {"ratio": 2.0, "interval_95": [2.0, 2.0]}
    assert ratios["cpu"].value == ratios["cpu_pair_by_pair"].value == 0.25


def test_the_cpu_time_of_a_child_counts_while_it_lives() -> None:
    """The clock of a family contains what a living child has used; `getrusage` would not."""
    with subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        assert family(child.pid) == (child.pid,)
        used = cpu_clock([child.pid])()
        child.communicate(b"\n")
    assert used >= 0.5


def test_a_stopwatch_takes_the_time_from_the_first_to_the_last_reading() -> None:
    """Readings in between, such as a pipeline's at each batch, do not matter, and the next pass starts afresh."""
    wall, cpu = FakeClock(10), FakeClock(0)
    stopwatch = Stopwatch(wall=wall, cpu=cpu)
    for _ in range(3):
        stopwatch.perf_counter()
        wall.now += 2
        cpu.now += 1
    assert stopwatch.take() == (4, 2)
    assert stopwatch.readings == []
