"""Studies driven to their end on a simulated landscape, and their terminal output."""

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from rich.console import Console, RenderableType

from factories.fake_executor import FakeExecutor, Played, play_landscape
from factories.memory_store import MemoryStore
from factories.studies import START, make_study
from infpop_operator.core.model import Run
from infpop_operator.core.study import Algorithm, Budget, SearchSpace, Study
from infpop_operator.local.driver import drive
from infpop_operator.local.snapshot import Snapshot
from infpop_runner.contract import Broken, EngineSpec, InfeasibleReason, RunSpec

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1028)
WIDE = SearchSpace(gpu_counts=(1, 2, 4, 8), batch_sizes=BATCHES)
VLLM = EngineSpec(name="vllm")


def landscape(gpu_count: int, batch_size: int) -> float | InfeasibleReason:
    """Return a landscape with an out-of-memory edge and numbers of every width."""
    if gpu_count == 2:
        return "HeadsNotDivisible"
    return "GpuOutOfMemory" if batch_size > 64 * gpu_count else 12345.678 * gpu_count * batch_size / 512


def breaking(run: Run, spec: RunSpec, now: datetime) -> Played:
    """Simulate `landscape`, but lose every run of batch size 2, and drop each result of batch size 4 on 8 GPUs."""
    played = play_landscape(landscape)(run, spec, now)
    if run.trials[0].configuration.batch_size == 2:
        return Played(seconds=1, outcome="Killed")
    if not isinstance(played.outcome, str) and (run.gpu_count, spec.trials[0].batch_size) == (8, 4):
        detail = "a very long detail " * 20
        broken = played.outcome.model_copy(
            update={"trials": (), "load_seconds": None, "broken": Broken(reason="EngineCrash", detail=detail)}
        )
        return Played(seconds=1, outcome=broken)
    return played


class Environment:
    """Simulated time, and everything that was shown."""

    def __init__(self, executor: FakeExecutor) -> None:
        self.now = executor.now
        self.wait = executor.wait
        self.shown: list[Snapshot] = []
        self.show = self.shown.append

    def is_interrupted(self) -> bool:
        """Return False: the user never interrupts."""
        return False

    def before_start(self) -> None:
        """Do nothing."""


def snapshots(play: Callable[[Run, RunSpec, datetime], Played] = breaking, **changes: object) -> list[Snapshot]:
    """Drive a study to its end and return everything that was shown."""
    study = make_study(
        space=WIDE,
        engine=VLLM,
        algorithm=Algorithm(name="grid"),
        budget=Budget(max_trials=44, max_failed_trials=100, max_concurrent_gpus=64),
    )
    return driven(replace(study, **changes), play)


def driven(study: Study, play: Callable[[Run, RunSpec, datetime], Played]) -> list[Snapshot]:
    """Drive `study` to its end and return everything that was shown."""
    executor = FakeExecutor(play, now=START)
    surroundings = Environment(executor)
    drive(study, MemoryStore(), executor, surroundings)
    return surroundings.shown


def printed(renderable: RenderableType, width: int = 80) -> str:
    """Return what a terminal of `width` columns without colours shows."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    console.print(renderable, crop=False)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()
