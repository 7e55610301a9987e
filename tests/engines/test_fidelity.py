"""InfPop's engines and the external harnesses on engines with known step times."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "bench_fidelity.py"


@pytest.mark.engine
@pytest.mark.parametrize("engine", ["vllm", "hf-pipeline"])
def test_infpop_and_the_external_harness_agree_where_the_time_of_each_step_is_known(engine: str) -> None:
    """A whole trial and `vllm bench throughput`'s timed function, or a plain loop, differ by less than 0.1 %."""
    command = [sys.executable, str(BENCHMARK), "--arithmetic", "--engine", engine]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=500).stdout
    numbers = json.loads(answer.splitlines()[-1])[engine]
    assert set(numbers) == {"1", "8", "32"}
    assert {size: each["ratio"] for size, each in numbers.items()} == dict.fromkeys(numbers, pytest.approx(1, abs=1e-3))
