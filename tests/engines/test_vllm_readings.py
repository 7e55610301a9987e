"""What vLLM reports about a pass, and what it must report."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from infpop_runner.engines.errors import EngineBrokenError
from infpop_runner.engines.vllm_readings import CACHE_HITS, PREEMPTIONS, read_counter, read_intervals


@dataclass(frozen=True)
class Counter:
    """A metric as vLLM returns it."""

    name: str
    value: int


@dataclass(frozen=True)
class Stats:
    """A request's times as vLLM returns them; unknown times are zero."""

    scheduled_ts: float = 0.0
    last_token_ts: float = 0.0


def test_a_counter_is_summed_over_the_engines() -> None:
    """Every engine behind one `LLM` has its own counter, other metrics are ignored, and zero is a count too."""
    metrics = [
        Counter(PREEMPTIONS, 2),
        Counter("vllm:prompt_tokens", 7),
        Counter(PREEMPTIONS, 1),
        Counter(CACHE_HITS, 0),
    ]
    assert read_counter(metrics, PREEMPTIONS, version="9") == 3
    assert read_counter(metrics, CACHE_HITS, version="9") == 0


@pytest.mark.parametrize("name", [PREEMPTIONS, CACHE_HITS])
def test_a_counter_that_is_gone_is_never_zero(name: str) -> None:
    """A renamed metric breaks the run and is named: it must not look like a pass without preemptions."""
    with pytest.raises(EngineBrokenError, match=f"vLLM 9.1 has no metric {name}") as found:
        read_counter([Counter(f"{name}_renamed", 4)], name, version="9.1")
    assert found.value.reason == "RunnerError"


@pytest.mark.parametrize("needed", [True, False])
def test_times_are_from_scheduled_to_last_token(*, needed: bool) -> None:
    """A request is in the batch from its scheduling until its last token."""
    stats = [Stats(1.0, 3.0), Stats(2.0, 4.5)]
    assert read_intervals(stats, version="9", needed=needed) == ((1.0, 3.0), (2.0, 4.5))


UNKNOWN = [None, Stats(), Stats(scheduled_ts=5.0)]


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_a_limit_of_our_own_needs_the_times_of_every_request(unknown: Stats | None) -> None:
    """A shared load breaks if its concurrency is unknown; the message says what is missing, and how to do without."""
    with pytest.raises(EngineBrokenError, match=r"vLLM 9\.1 does not report when its requests") as found:
        read_intervals([Stats(1.0, 3.0), unknown], version="9.1", needed=True)
    assert found.value.reason == "RunnerError"
    assert "scheduled_ts and last_token_ts are missing for 1 of 2" in str(found.value)
    assert "set measurement.mode: Full and algorithm.trialsPerRun: 1" in str(found.value)


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_a_limit_of_the_engines_own_needs_no_times(unknown: Stats | None) -> None:
    """With one batch size in a load vLLM enforces it: a missing concurrency costs no number, and is never zero."""
    assert read_intervals([Stats(1.0, 3.0), unknown], version="9", needed=False) is None


@pytest.mark.engine
def test_an_engine_that_says_too_little_gives_no_pass() -> None:
    """Without request times a shared load breaks, without a counter every load does; otherwise the pass counts."""
    script = Path(__file__).with_name("silent_vllm.py")  # vLLM changes the process that imports it
    command = [sys.executable, "-W", "ignore", str(script)]
    done = subprocess.run(command, cwd=script.parents[1], capture_output=True, text=True, check=True)
    verdicts = done.stdout.splitlines()[-4:]
    assert verdicts[0] == "a pass of 16 sequences"
    for verdict, missing in zip(
        verdicts[1:], (f"no metric {PREEMPTIONS}", f"no metric {CACHE_HITS}", "when its requests were"), strict=True
    ):
        assert verdict.startswith("RunnerError: vLLM ")
        assert missing in verdict
