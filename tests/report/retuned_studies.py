"""A study whose pool gets other GPUs after its search has ended, at instants of what follows."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from factories.fake_executor import FakeExecutor, Played, play_landscape
from factories.memory_store import MemoryStore
from factories.studies import START
from infpop_operator.api.landscapes import described_study
from infpop_operator.api.parse import parse_object
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.core.decide import decide
from infpop_operator.core.model import History, Run
from infpop_operator.core.study import Retune, RetunePolicy, Study
from infpop_operator.local.driver import drive
from infpop_operator.local.snapshot import Snapshot
from infpop_runner.contract import InfeasibleReason, RunSpec
from report.played_studies import Environment
from report.study_objects import NOW, at_instant, make_document

DOCUMENT = make_document(
    nodePools=[{"name": "a100", "image": "runner:1"}],
    searchSpace={"gpuCount": [1, 2, 4, 8], "batchSize": [8, 64, 256]},
    algorithm={"name": "grid", "trialsPerRun": 1},
    budget={"maxTrials": 12, "maxConcurrentGPUs": 16},
)
_AGES = timedelta(hours=4)
CHANGED_AT = NOW - timedelta(hours=1)


def with_pool(study: Study, model: str, **changes: object) -> Study:
    """Return the study on nodes with GPUs of this model."""
    pool = replace(study.pools[0], fingerprint=model, gpu_model=model, device_count=8, software="runner:1", **changes)
    return replace(study, pools=(pool,))


@cache
def studies() -> tuple[Study, Study]:
    """Return the study before and after the change of its pool."""
    study = described_study(parse_object(DOCUMENT), StudyStatus())
    return with_pool(study, "Tesla-V100-SXM2-32GB"), with_pool(study, "NVIDIA-A100-SXM4-40GB")


def landscape(*, factor: float, fits: int) -> Any:  # noqa: ANN401 - a play of the fake executor
    """Return a play of the landscape of a GPU: its speed, and up to which batch size per GPU the model fits."""

    def at(gpu_count: int, batch_size: int) -> float | InfeasibleReason:
        too_large = batch_size > fits * gpu_count
        return "GpuOutOfMemory" if too_large else factor * 100.0 * gpu_count**0.7 * batch_size**0.4

    def play(run: Run, spec: RunSpec, now: datetime) -> Played:
        return play_landscape(at)(run, spec, now)

    return play


def ended_before() -> tuple[MemoryStore, Snapshot]:
    """Return the store and the last snapshot of the search before the change, which ended some hours ago."""
    store = MemoryStore()
    executor = FakeExecutor(landscape(factor=0.5, fits=64), now=START - _AGES)
    surroundings = Environment(executor)
    drive(studies()[0], store, executor, surroundings)
    return store, surroundings.shown[-1]


def noticed(policy: RetunePolicy) -> dict[str, Any]:
    """Return the object when the operator has seen the new GPUs for five minutes, under a policy."""
    _, last = ended_before()
    study = replace(studies()[1], retune=Retune(policy=policy))
    first = decide(study, last.decision.history, {}, NOW - timedelta(minutes=5))
    decision = decide(study, first.history, {}, NOW)
    return at_instant(DOCUMENT, replace(last, study=study, decision=decision))


def retuned(*, fits: int = 64, done: bool = True) -> dict[str, Any]:
    """Return the object after the search on the new GPUs, or while its first run is live."""
    return at_instant(DOCUMENT, _searched_again(fits)[-1 if done else 0])


def retuned_history() -> History:
    """Return the history after the search on the new GPUs."""
    return _searched_again(64)[-1].decision.history


def _searched_again(fits: int) -> list[Snapshot]:
    store, _ = ended_before()
    study = replace(studies()[1], retune=Retune(debounce=timedelta(0)))
    executor = FakeExecutor(landscape(factor=1.0, fits=fits), now=CHANGED_AT)
    surroundings = Environment(executor)
    drive(study, store, executor, surroundings)
    return surroundings.shown
