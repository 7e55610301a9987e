"""What each failure means for the rest of a run, with an engine that fails on request."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import cast

import pytest

from engines.specs import make_run_spec
from infpop_runner.contract import Measured, RunResult, RunSpec, Skipped, decode_result
from infpop_runner.engines import AboutEngine, LoadRequest
from infpop_runner.engines.errors import EngineRefusedError
from infpop_runner.measure import PassOutcome, pass_length
from infpop_runner.metrics import RunMetrics, ScrapeWatch
from infpop_runner.process import Guard, OutputTail
from infpop_runner.trial import Environment, Journal, execute_run
from infpop_runner.trial import run as module

NOW = datetime(2026, 11, 21, tzinfo=UTC)
OUT_OF_MEMORY = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
MISSING = dict.fromkeys(
    ("batch_seconds_p50", "batch_seconds_p95", "gpu_memory_peak_bytes", "pad_ratio", "concurrency_peak"), "Unknown"
)


class FailingEngine:
    """Measures every batch but those with a failure."""

    def __init__(self, request: LoadRequest, world: "World") -> None:
        self._world = world
        self._largest = 0
        failures = world.failures
        self._workload = request.spec.workload
        self._failures = failures
        self.about = AboutEngine(
            version=None,
            torch_version=None,
            engine_args={},
            device_mode="",
            model=None,
            prompt_tokens_mean=None,
            missing_reasons=MISSING,
        )

    def warm_up(self, batch_size: int) -> None:
        """Fail if requested."""
        self._world.tried.append(batch_size)
        self._largest = max(self._largest, batch_size)
        if batch_size in self._failures:
            raise self._failures[batch_size]

    def run_pass(self, batch_size: int) -> PassOutcome:
        """Take a second."""
        count = pass_length(samples=self._workload.samples, batch_size=batch_size)
        return PassOutcome(seconds=1.0, generated=(self._workload.max_new_tokens,) * count)

    def memory_peak_bytes(self) -> int | None:
        """Return the largest batch so far, or None as requested."""
        return self._largest if self._world.has_peak else None

    def clear_memory(self) -> bool:
        """Forget the largest batch, if requested."""
        if isinstance(self._world.clears, Exception):
            raise self._world.clears
        if self._world.clears:
            self._largest = 0
        return self._world.clears

    def close(self) -> None:
        """Succeed or fail, as requested."""
        self._world.close()


class World:
    """A clock that only waiting advances, devices, and the memory in use on them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        self.devices: tuple[str, ...] = ("0",)
        self.memory: Callable[[], int | None] = lambda: 0
        self.throttled: Callable[[], float | None] = lambda: 0.0
        self.failures: dict[int, Exception] = {}
        self.load_failure: Exception | None = None
        self.fitting = 0  # batch for which the failing load works
        self.loads: list[tuple[int, ...]] = []
        self.tried: list[int] = []
        self.has_peak = False
        self.clears: bool | Exception = True
        self.scrapes = ScrapeWatch()
        self.place_lost = False
        self.written: list[RunResult] = []
        self.close: Callable[[], None] = lambda: None
        monkeypatch.setattr(module, "find_loader", lambda _name: self.load)
        monkeypatch.setattr(module, "end_children", lambda **_: 0)

    def load(self, request: LoadRequest) -> FailingEngine:
        """Load, or fail if requested."""
        self.loads.append(request.batch_sizes)
        if self.load_failure is not None and request.batch_sizes[-1] > self.fitting:
            raise self.load_failure
        return FailingEngine(request, self)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds

    def write(self, text: str) -> None:
        """Keep the result."""
        if self.place_lost:
            raise OSError("no such place")
        self.written.append(decode_result(text))

    def lose_the_place(self) -> None:
        """Make every further write of a result fail."""
        self.place_lost = True

    def execute_run(self, spec: RunSpec) -> RunResult:
        """Execute the run and return its complete result."""
        journal = Journal(spec, write=self.write, now=lambda: NOW)
        around = Environment(
            clock=lambda: self.seconds,
            wait=self.wait,
            devices=self.devices,
            memory_used_bytes=self.memory,
            throttled_seconds=self.throttled,
            cpu_limit=2.0,
            output=cast("OutputTail", SilentOutput()),
            guard=Guard(clock=lambda: self.seconds, lifeline=None, on_end=lambda _reason, _detail: None),
            metrics=RunMetrics(spec),
            scrapes=self.scrapes,
            journal=journal,
        )
        execute_run(spec, around)
        assert journal.result.ended_at is not None
        return journal.result


class SilentOutput:
    """The output of an engine that prints nothing."""

    def mark(self) -> int:
        """Return the start position."""
        return 0

    def text_since(self, mark: int) -> str:
        """Return an empty text."""
        return "" if mark == 0 else "?"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world where nothing fails."""
    return World(monkeypatch)


def make_spec(name: str = "vllm", *, batches: tuple[int, ...] = (2, 4, 8), **changes: object) -> RunSpec:
    """Return a run of three batches on one GPU."""
    return make_run_spec(batches=batches, device="cuda", engine={"name": name}, **changes)


def make_conditional_spec(*needs: float | None, batches: tuple[int, ...] = (4, 8, 2)) -> RunSpec:
    """Return a run whose trials need an earlier one with so many tokens/s."""
    spec = make_spec(batches=batches)
    trials = zip(spec.trials, needs, strict=True)
    changed = [trial.model_copy(update={"needs_tokens_per_second": needed}) for trial, needed in trials]
    return spec.model_copy(update={"trials": tuple(changed)})


def outcomes(result: RunResult) -> list[tuple[int, str, str | None]]:
    """Return batch size, outcome and reason of each trial."""
    return [(trial.batch_size, trial.outcome, getattr(trial, "reason", None)) for trial in result.trials]


def test_measuring_stops_at_a_batch_that_does_not_fit(world: World) -> None:
    """After an out-of-memory nothing larger is tried and nothing is broken."""
    world.failures = {4: OUT_OF_MEMORY}
    result = world.execute_run(make_spec())
    assert outcomes(result) == [(2, "measured", None), (4, "infeasible", "GpuOutOfMemory")]
    assert result.broken is None


def test_trials_are_measured_in_the_order_given_on_a_load_for_the_largest(world: World) -> None:
    """The operator chooses the order, and the result keeps it."""
    result = world.execute_run(make_spec(batches=(4, 8, 2)))
    assert (world.loads, world.tried) == ([(2, 4, 8)], [4, 8, 2])
    assert [trial.batch_size for trial in result.trials] == [4, 8, 2]


def test_an_engine_that_survives_an_out_of_memory_goes_on_with_smaller_batches(world: World) -> None:
    """Larger ones are certain, whether they were planned before or after the one that failed."""
    world.failures = {8: OUT_OF_MEMORY}
    result = world.execute_run(make_spec(batches=(8, 16, 4, 32, 2)))
    assert world.tried == [8, 4, 2]
    assert outcomes(result) == [
        (8, "infeasible", "GpuOutOfMemory"),
        (4, "measured", None),
        (2, "measured", None),
    ]
    assert result.broken is None


@pytest.mark.parametrize("clears", [False, RuntimeError("CUDA error: unspecified launch failure")], ids=["no", "error"])
def test_smaller_batches_are_skipped_after_an_out_of_memory_that_ended_the_engine(
    world: World, *, clears: bool | Exception
) -> None:
    """They stay open: nothing is known of them, and the run is not broken."""
    world.failures, world.clears = {8: OUT_OF_MEMORY}, clears
    result = world.execute_run(make_spec(batches=(8, 4, 16, 2)))
    assert (world.tried, result.broken) == ([8], None)
    assert [(trial.batch_size, trial.outcome) for trial in result.trials] == [
        (8, "infeasible"),
        (4, "skipped"),
        (2, "skipped"),
    ]
    assert {each.detail for each in result.trials if isinstance(each, Skipped)} == {
        "the engine ended when batch 8 ran out of memory"
    }


def test_a_trial_whose_condition_no_earlier_one_met_is_not_tried(world: World) -> None:
    """A batch of 4 makes 64 tokens/s here, one of 8 twice as much."""
    result = world.execute_run(make_conditional_spec(None, 64.0, 64.5))
    assert [(trial.batch_size, trial.outcome) for trial in result.trials] == [
        (4, "measured"),
        (8, "measured"),
        (2, "measured"),
    ]
    world.tried.clear()
    result = world.execute_run(make_conditional_spec(None, 64.5, 64.0))
    assert world.tried == [4, 2]
    skipped = result.trials[1]
    assert isinstance(skipped, Skipped)
    assert skipped.detail == "the best of its run, 64 tokens/s, is below the 64.5 it needs"
    assert result.broken is None


def test_a_condition_is_met_by_numbers_alone(world: World) -> None:
    """After a batch that does not fit, nothing of the run has a number yet."""
    world.failures = {4: OUT_OF_MEMORY}
    result = world.execute_run(make_conditional_spec(None, None, 1.0))
    assert [(trial.batch_size, trial.outcome) for trial in result.trials] == [(4, "infeasible"), (2, "skipped")]
    assert "1 tokens/s, and none has a number" in cast("Skipped", result.trials[1]).detail


@pytest.mark.parametrize(
    ("has_peak", "clears", "expected"),
    [
        (True, True, [(4, None), (8, None), (2, None), (6, None)]),
        (True, False, [(4, None), (8, None), (None, "AfterLargerBatch"), (None, "AfterLargerBatch")]),
        (False, False, [(None, "Unknown")] * 4),
    ],
)
def test_the_memory_of_a_smaller_batch_is_not_that_of_a_larger_one(
    world: World, *, has_peak: bool, clears: bool, expected: list[tuple[int | None, str | None]]
) -> None:
    """Where the engine cannot reset its peak, the memory of a batch after a larger one is not known."""
    world.has_peak, world.clears = has_peak, clears
    trials = [
        trial for trial in world.execute_run(make_spec(batches=(4, 8, 2, 6))).trials if isinstance(trial, Measured)
    ]
    found = [(trial.gpu_memory_peak_bytes, trial.missing.get("gpu_memory_peak_bytes")) for trial in trials]
    assert found == expected


def test_a_load_that_is_refused_is_tried_again_without_its_largest_batch(world: World) -> None:
    """Wherever that is in the order; the others are measured as planned."""
    world.load_failure, world.fitting = OUT_OF_MEMORY, 4
    result = world.execute_run(make_spec(batches=(4, 8, 2)))
    assert (world.loads, world.tried) == ([(2, 4, 8), (2, 4)], [4, 2])
    assert outcomes(result) == [(4, "measured", None), (8, "infeasible", "GpuOutOfMemory"), (2, "measured", None)]


def test_a_refusal_that_holds_for_every_batch_is_reported_for_every_batch(world: World) -> None:
    """A refusal independent of the batch size is reported for all remaining trials, so that each has a reason."""
    world.failures = {4: RuntimeError("CUDA error: no kernel image is available for execution on the device")}
    assert outcomes(world.execute_run(make_spec())) == [
        (2, "measured", None),
        (4, "infeasible", "IncompatibleGPU"),
        (8, "infeasible", "IncompatibleGPU"),
    ]


def test_a_hole_in_a_landscape_is_a_hole_of_one_batch(world: World) -> None:
    """A cell that was not recorded says nothing about the next."""
    world.failures = {4: EngineRefusedError("NotRecorded", "no such cell")}
    assert [outcome for _, outcome, _ in outcomes(world.execute_run(make_spec()))] == [
        "measured",
        "infeasible",
        "measured",
    ]


@pytest.mark.parametrize(
    ("name", "loads"), [("vllm", [(2, 4, 8), (2, 4), (2,)]), ("hf-pipeline", [(2, 4, 8)])], ids=["vllm", "hf-pipeline"]
)
def test_a_load_is_tried_for_smaller_batches_only_where_they_count(
    world: World, name: str, loads: list[tuple[int, ...]]
) -> None:
    """If a load takes the same memory for every batch size, one that does not fit decides for all of them."""
    world.load_failure = OUT_OF_MEMORY
    result = world.execute_run(make_spec(name))
    assert world.loads == loads
    assert outcomes(result) == [(batch, "infeasible", "GpuOutOfMemory") for batch in (2, 4, 8)]
    assert result.broken is None


def test_a_missing_device_is_broken(world: World) -> None:
    """Fewer devices than asked for are the machine's failure and say nothing about the configuration."""
    result = world.execute_run(make_spec(gpu_count=2))
    assert (result.trials, world.loads) == ((), [])
    assert result.broken is not None
    assert result.broken.reason == "GpuMissing"


def test_memory_that_is_still_being_freed_is_waited_for(world: World) -> None:
    """Memory of an ended process may take some seconds to be freed."""
    world.memory = lambda: 40 << 30 if world.seconds < 3.0 else 1 << 30
    assert len(world.execute_run(make_spec()).trials) == 3


def test_memory_of_other_processes_is_never_an_out_of_memory(world: World) -> None:
    """On a device in use by another process nothing is loaded, and no configuration is blamed."""
    world.memory = lambda: 40 << 30
    result = world.execute_run(make_spec())
    assert (result.trials, world.loads) == ((), [])
    assert result.broken is not None
    assert result.broken.reason == "GpuNotClean"
    assert 10.0 <= world.seconds < 11.0


def test_memory_that_cannot_be_read_costs_a_number_only(world: World) -> None:
    """If NVML fails, the trials are measured without a memory value."""
    world.memory = lambda: None
    assert [outcome for _, outcome, _ in outcomes(world.execute_run(make_spec()))] == ["measured"] * 3


@pytest.mark.parametrize(
    ("name", "device", "reason"), [("vllm", "cuda", "CpuThrottled"), ("vllm", "cpu", None), ("simulated", "cuda", None)]
)
def test_throttled_cpus_spoil_the_numbers_of_gpus_alone(
    world: World, name: str, device: str, reason: str | None
) -> None:
    """On CPUs the limit is part of the request, and a replayed number does not depend on this machine."""
    ticks = count()
    world.throttled = lambda: float(next(ticks))
    simulation = {"simulation": {}} if name == "simulated" else {}
    result = world.execute_run(make_run_spec(batches=(2, 4), device=device, engine={"name": name, **simulation}))
    assert {found for _, _, found in outcomes(result)} == {reason}


def test_a_run_is_held_when_all_is_over_and_freed(world: World) -> None:
    """The engine is closed and the result is complete before a run is held; its hold time is added afterwards."""
    closed: list[RunResult] = []

    def close() -> None:
        closed.append(world.written[-1])
        world.scrapes.saw_final_values()

    world.close = close
    result = world.execute_run(make_spec(scrape_grace_seconds=600))
    assert [(each.ended_at, each.held_seconds, len(each.trials)) for each in closed] == [(NOW, None, 3)]
    assert result == world.written[-1]
    assert result == closed[0].model_copy(update={"held_seconds": 0.0})


def test_a_broken_run_that_has_a_number_is_held(world: World) -> None:
    """Numbers measured before a run broke are shown like any other number."""
    world.failures[4] = RuntimeError("the engine died")
    world.scrapes.saw_final_values()
    result = world.execute_run(make_spec(scrape_grace_seconds=600))
    assert outcomes(result) == [(2, "measured", None)]
    assert result.broken is not None
    assert result.held_seconds == 0.0


@pytest.mark.parametrize("grace_seconds", [0, 600])
def test_a_run_without_a_number_is_not_held(world: World, grace_seconds: float) -> None:
    """GPUs do not wait for a scrape that would read no number."""
    world.load_failure = OUT_OF_MEMORY
    result = world.execute_run(make_spec(scrape_grace_seconds=grace_seconds))
    assert {outcome for _, outcome, _ in outcomes(result)} == {"infeasible"}
    assert result.held_seconds is None


def test_a_run_that_is_not_to_wait_is_not_held(world: World) -> None:
    """Without a grace period a run ends when its result is complete, as it does on one machine."""
    result = world.execute_run(make_spec())
    assert [outcome for _, outcome, _ in outcomes(result)] == ["measured"] * 3
    assert result.held_seconds is None


def test_how_long_a_run_was_held_need_not_be_written(world: World) -> None:
    """A complete result stays valid if its file can no longer be updated."""
    world.scrapes.saw_final_values()
    world.close = world.lose_the_place
    world.execute_run(make_spec(scrape_grace_seconds=600))
    assert world.written[-1].ended_at is not None
    assert world.written[-1].held_seconds is None
