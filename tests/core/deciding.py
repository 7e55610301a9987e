"""Decisions about studies whose pools are in their first round."""

from collections.abc import Mapping

from factories.runs import make_ended, make_history, make_loss, make_round, make_run
from factories.studies import at, make_cell, make_pool
from infpop_operator.core.decide import decide
from infpop_operator.core.decision import Decision
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.core.model import EndedRun, History, Observation, Run
from infpop_operator.core.study import Configuration, SearchSpace, Study

TWO_POOLS = (make_pool(), make_pool(name="v100", fingerprint="f2"))
TINY = SearchSpace(gpu_counts=(1,), batch_sizes=(8,))
CELL = make_cell(1, 8)


def begun(study: Study, **changes: object) -> History:
    """Return a history in which each pool of the study is in its first round."""
    rounds = tuple(make_round(pool=pool.name, identity=measurement_identity(study, pool)) for pool in study.pools)
    return make_history(**({"rounds": rounds} | changes))


def decided(study: Study, observations: Mapping[str, Observation] | None = None, **changes: object) -> Decision:
    """Return the decision at second 100 of a study whose pools are in their first round."""
    return decide(study, begun(study, **changes), observations or {}, at(100))


def one(name: str, cell: Configuration = CELL, index: int = 0, **changes: object) -> Run:
    """Return a run of one trial."""
    return make_run(name, cells=[cell], index=index, **changes)


def broke_twice(pool: str = "a100", ended: float = 95) -> tuple[EndedRun, ...]:
    """Return two preempted runs of one trial; the pause after them lasts ten seconds."""
    lost = make_loss("Preempted", ended=ended, counts=False)
    return tuple(make_ended(one(f"{pool}-{number}", pool=pool), lost) for number in range(2))
