"""Shared setup for the tests of retuning: a study with results, changes of its pool and spec, and a played timeline."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from factories.runs import make_finish, make_loss
from factories.studies import START, make_pool, make_study
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Decision
from infpop_operator.core.history_diff import Entry, apply, changes
from infpop_operator.core.model import History, Observation, Round, StartedRun
from infpop_operator.core.study import Algorithm, Budget, Pool, Retune, RetunePolicy, SearchSpace, Study

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DEBOUNCE = 10 * MINUTE
V100 = make_pool(name="gpus", fingerprint="v", gpu_model="Tesla-V100-SXM2-32GB", gpu_memory_mib=32768)
A100 = replace(V100, fingerprint="a", gpu_model="NVIDIA-A100-SXM4-40GB", gpu_memory_mib=40960)
H100 = replace(V100, fingerprint="h", gpu_model="NVIDIA-H100-80GB-HBM3", gpu_memory_mib=81920)
GPU_CHANGE = ("GPU Tesla-V100-SXM2-32GB → NVIDIA-A100-SXM4-40GB", "GPU memory (MiB) 32768 → 40960")
SPACE = SearchSpace(gpu_counts=(1, 2), batch_sizes=(8, 16))
ON_V100: Mapping[tuple[int, int], float] = {(2, 8): 10.0, (2, 16): 40.0, (1, 8): 20.0, (1, 16): 30.0}


def make_tuned_study(policy: RetunePolicy = "OnPoolChange", **changes: object) -> Study:
    """Return a grid search over two of four cells on V100s, with the default debounce."""
    defaults: dict[str, object] = {
        "pools": (V100,),
        "space": SPACE,
        "algorithm": Algorithm(name="grid"),
        "budget": Budget(max_trials=2),
        "retune": Retune(policy=policy, debounce=DEBOUNCE, max_per_day=2),
    }
    return make_study(**(defaults | changes))


def on(study: Study, pool: Pool, **changes: object) -> Study:
    """Return the study when its pool has other hardware."""
    return replace(study, pools=(pool,), **changes)


def with_other_spec(study: Study) -> Study:
    """Return the study with another model revision."""
    return replace(study, model=study.model.model_copy(update={"revision": "v2"}))


def away(study: Study, history: History) -> Study:
    """Return the study while its pool has no nodes: the hardware of the newest round, without room for a run."""
    newest = history.rounds[-1]
    known = next(pool for pool in (V100, A100, H100) if pool.fingerprint == newest.hardware.fingerprint)  # type: ignore[union-attr]
    return on(study, replace(known, usable_device_count=0, total_device_count=0))


@dataclass(kw_only=True)
class Timeline:
    """A study over time: each run ends at the next step, with a number or lost. The journal is all that is kept."""

    study: Study
    now: datetime = START
    journal: list[Entry] = field(default_factory=list)
    rates: Mapping[tuple[int, int], float] = field(default_factory=lambda: ON_V100)
    seen: Mapping[str, Observation] = field(default_factory=dict)

    @property
    def history(self) -> History:
        """What a restarted operator reads."""
        return apply(History(started_at=START), self.journal)

    @property
    def newest(self) -> Round:
        """The newest round."""
        return self.history.rounds[-1]

    def rounds(self) -> list[int]:
        """Return the numbers of the rounds, the newest last."""
        return [entry.number for entry in self.history.rounds]

    def look(self, study: Study | None = None, *, after: timedelta = timedelta(0), lost: bool = False) -> Decision:
        """Decide once, after a time; the live runs have ended by then."""
        self.study, self.now = study or self.study, self.now + after
        before = self.history
        self.seen = {live.run.name: self._end(live, lost=lost) for live in before.active}
        decision = decide(self.study, before, self.seen, self.now)
        starts = (StartedRun(run=run, started_at=self.now, held_since=self.now) for run in decision.start)
        self.journal += [*changes(before, decision.history), *starts]
        return decision

    def finish(self) -> Decision:
        """Decide until no run is live."""
        decision = self.look(after=MINUTE)
        while self.history.active:
            decision = self.look(after=MINUTE)
        return decision

    def _end(self, live: StartedRun, *, lost: bool) -> Observation:
        if lost or live.stopping is not None:
            return replace(make_loss(), ended_at=self.now)
        cells = [(each.configuration.gpu_count, each.configuration.batch_size) for each in live.run.trials]
        return replace(make_finish(live.run, [self.rates[cell] for cell in cells]), ended_at=self.now)


def tuned(study: Study | None = None) -> Timeline:
    """Return a study whose first round has finished."""
    timeline = Timeline(study=study or make_tuned_study())
    timeline.finish()
    return timeline


def in_search(study: Study) -> Timeline:
    """Return a study whose first round has one result, and a live run."""
    timeline = Timeline(study=study)
    timeline.look()
    timeline.look(after=MINUTE)
    return timeline


def begun(study: Study) -> Timeline:
    """Return a study whose first run is live."""
    timeline = Timeline(study=study)
    timeline.look()
    return timeline
