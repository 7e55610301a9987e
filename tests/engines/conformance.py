"""What every engine guarantees: one suite that each engine runs.

A suite class provides the fixture `outcome`: one run of the batch sizes `BATCHES` through the real runner.
"""

import re
from dataclasses import dataclass

from infpop_runner.contract import Measured, RunResult, RunSpec

BATCHES = (4, 1, 8)
SAMPLES = 10
NEW_TOKENS = 4


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The output of a finished runner process, and its metrics while it measured and at the end.

    `final_metrics` were scraped while the run was held, when only the runner process itself was left.
    """

    spec: RunSpec
    result: RunResult
    metrics: str
    final_metrics: str
    survivors: list[str]
    shared_memory: set[str]

    @property
    def measured(self) -> list[Measured]:
        """The trials that gave a number."""
        return [trial for trial in self.result.trials if isinstance(trial, Measured)]


def ids_of_a_pass(batch_size: int) -> int:
    """Return how many tokens one pass of a trial generates."""
    length = max(SAMPLES, 4 * batch_size)
    return -(-length // batch_size) * batch_size * NEW_TOKENS


class EngineConformance:
    """The guarantees. Subclasses provide `outcome`."""

    def test_every_trial_is_measured_in_order(self, outcome: Outcome) -> None:
        """One load serves all batch sizes of a run, in the order given, and nothing breaks."""
        assert outcome.result.broken is None
        assert [trial.batch_size for trial in outcome.measured] == list(BATCHES), outcome.result.trials

    def test_ids_are_counted_exactly(self, outcome: Outcome) -> None:
        """Each repeat generated whole passes, each sequence with exactly the requested number of tokens."""
        for trial in outcome.measured:
            a_pass = ids_of_a_pass(trial.batch_size)
            assert trial.generated_tokens % a_pass == 0
            assert trial.generated_tokens >= trial.repeats * a_pass
            assert trial.repeats == 3

    def test_a_number_follows_from_tokens_and_seconds(self, outcome: Outcome) -> None:
        """The throughput lies within the spread around total tokens over total seconds."""
        for trial in outcome.measured:
            overall = trial.generated_tokens / trial.measured_seconds
            assert abs(overall / trial.throughput_tokens_per_second - 1) <= trial.spread_ratio + 1e-5

    def test_windows_follow_each_other(self, outcome: Outcome) -> None:
        """Trials record when they were measured: one after another within the run, no shorter than the timed part."""
        result = outcome.result
        assert result.ended_at is not None
        assert result.load_seconds is not None
        times = [result.load_seconds]
        for trial in outcome.measured:
            assert trial.window_seconds is not None
            times += trial.window_seconds
            if not result.simulated:
                assert trial.window_seconds[1] - trial.window_seconds[0] >= trial.measured_seconds - 0.002
        times.append((result.ended_at - result.started_at).total_seconds() + 0.002)
        assert times == sorted(times)

    def test_the_last_scrape_sees_what_the_result_says(self, outcome: Outcome) -> None:
        """A run is held, with its engine gone, until a scrape has read every number of its result."""
        assert outcome.result.held_seconds is not None
        assert 'state="done",study="study"} 1.0' in outcome.final_metrics
        shown = re.findall(r"infpop_trial_throughput_tokens_per_second{.*} (\S+)", outcome.final_metrics)
        assert [float(number) for number in shown] == [trial.throughput_tokens_per_second for trial in outcome.measured]

    def test_provenance_names_what_was_measured(self, outcome: Outcome) -> None:
        """Engine, mode, arguments, prompts and seed are recorded; a CPU run names no GPU."""
        provenance = outcome.result.provenance
        assert provenance.engine == outcome.spec.engine.name
        assert provenance.device_mode
        assert provenance.engine_args
        assert provenance.workload_hash is not None
        assert len(provenance.workload_hash) == 64
        assert provenance.seed == outcome.spec.seed
        assert provenance.gpu_model is None
        assert outcome.result.load_seconds is not None
        assert outcome.result.simulated == (provenance.engine == "simulated")

    def test_metrics_were_served_while_it_measured(self, outcome: Outcome) -> None:
        """While a run measures, its current values can be scraped: whole passes, never more than at the end."""
        ended = {trial.batch_size: trial.generated_tokens for trial in outcome.measured}
        counted = re.findall(r'infpop_generated_tokens_total{batch_size="(\d+)".*} (\S+)', outcome.metrics)
        assert counted
        for batch_size, tokens in counted:
            assert 0 < float(tokens) <= ended[int(batch_size)]
            assert float(tokens) % ids_of_a_pass(int(batch_size)) == 0
        assert "infpop_model_load_seconds{" in outcome.metrics
        assert f'infpop_run_info{{engine="{outcome.spec.engine.name}"' in outcome.metrics

    def test_nothing_is_left_behind(self, outcome: Outcome) -> None:
        """When the runner has ended, so has everything that it started, and no shared memory remains."""
        assert outcome.survivors == []
        assert outcome.shared_memory == set()
