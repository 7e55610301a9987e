"""Shared setup for the tests of measuring the best again: a finished search, and confirming runs played to an end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from factories.runs import Outcome, make_finish, make_run
from factories.studies import START, make_cell, make_measured, make_study
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Decision
from infpop_operator.core.model import EndedRun, Finished, History, Lost, Observation, Run, StartedRun
from infpop_operator.core.retune import retune
from infpop_operator.core.study import Algorithm, Budget, Configuration, SearchSpace, Study

SPACE = SearchSpace(gpu_counts=(1, 2, 4), batch_sizes=(8, 16))
ONE, TWO, FOUR = make_cell(1, 16), make_cell(2, 16), make_cell(4, 16)  # the trials 0, 1 and 2
CELLS = (ONE, TWO, FOUR)
CONFIRM = Budget(max_trials=3, confirm=True, max_failed_trials=20)
MINUTE = timedelta(minutes=1)

# What one load of a trial gives: an outcome, or the reason of a run that was lost.
Load = Outcome | Lost
STOPS = 100  # more decisions than any of these studies takes


def make_confirming_study(**changes: object) -> Study:
    """Return a study whose search has measured three configurations and is over."""
    return make_study(**({"space": SPACE, "algorithm": Algorithm(name="grid"), "budget": CONFIRM} | changes))


def lost(reason: str = "NodeLost", *, counts: bool = True) -> Lost:
    """Return the end of a load without a result."""
    return Lost(reason=reason, ended_at=START, counts=counts)


def crashed() -> Lost:
    """Return the end of a load whose engine died."""
    return lost("EngineCrash")


def searched(study: Study, *rates: Outcome, cells: Sequence[Configuration] = CELLS) -> History:
    """Return the history of a search that has measured these numbers, one load each, on `cells` in their order."""
    history = retune(study, History(started_at=START), START).history
    ended = []
    for index, (cell, rate) in enumerate(zip(cells, rates, strict=True)):
        run = make_run(f"search-{index}", cells=(cell,), index=index)
        ended.append(EndedRun(run=run, started_at=START, held_since=START, observation=make_finish(run, [rate])))
    return replace(history, ended=tuple(ended))


@dataclass(kw_only=True)
class Play:
    """The confirming runs of a study until it ends, a minute each; `loads` are what each trial's loads give in turn."""

    study: Study
    history: History
    loads: Mapping[int, Sequence[Load]]
    now: datetime = START + 2 * MINUTE
    runs: list[Run] = field(default_factory=list)

    def to_end(self, until: Callable[["Play"], bool] | None = None) -> Decision:
        """Return the first decision after which nothing starts or waits, or before which `until` holds."""
        for _ in range(STOPS):
            decision = decide(self.study, self.history, {}, self.now)
            self.history = decision.history
            if until is not None and until(self):
                return decision
            if not decision.start and not decision.history.active:
                if decision.wake_at is None:
                    return decision
                self.now = decision.wake_at
                continue
            self._start(decision)
            self._end()
        raise AssertionError(f"no end after {STOPS} decisions")

    @property
    def measured(self) -> list[Configuration]:
        """The configurations in the order in which their loads began."""
        return [run.trials[0].configuration for run in self.runs]

    def _start(self, decision: Decision) -> None:
        started = tuple(StartedRun(run=run, started_at=self.now, held_since=self.now) for run in decision.start)
        self.history = replace(self.history, active=(*self.history.active, *started))
        self.runs += decision.start

    def _end(self) -> None:
        self.now += MINUTE
        observations = {entry.run.name: self._observation(entry.run) for entry in self.history.active}
        self.history = decide(self.study, self.history, observations, self.now).history

    def _observation(self, run: Run) -> Observation:
        (planned,) = run.trials
        load = self.loads[planned.index][self._number(run)]
        if isinstance(load, Lost):
            return replace(load, ended_at=self.now)
        finish = make_finish(run, [load])
        result = finish.result.model_copy(update={"ended_at": self.now})
        return Finished(result=result, ended_at=self.now)

    def _number(self, run: Run) -> int:
        """Return how many runs of the same trial came before."""
        earlier = self.runs[: self.runs.index(run)]
        return sum(each.trials[0].index == run.trials[0].index for each in earlier)


def adaptive(rate: float, *, index: int, batch_size: int = 16) -> Outcome:
    """Return a short measurement."""
    return make_measured(rate, index=index, batch_size=batch_size, mode="adaptive")
