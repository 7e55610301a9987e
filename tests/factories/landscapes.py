"""The landscape of a round, built from its trials by way of status rows, as every page builds it."""

from dataclasses import replace

from infpop_operator.api.landscapes import to_landscape
from infpop_operator.api.status_model import Best, PoolStatus, StudyStatus
from infpop_operator.api.status_rows import trial_row
from infpop_operator.api.status_values import shown_extra
from infpop_operator.core import objective
from infpop_operator.core.landscape import Landscape
from infpop_operator.core.model import Trial
from infpop_operator.core.scope import in_scope
from infpop_operator.core.study import Configuration, Pool, Study
from infpop_runner.contract import ModelFacts


def landscape(
    study: Study,
    pool: Pool,
    trials: tuple[Trial, ...],
    facts: ModelFacts | None,
    *,
    baseline: Configuration | None = None,
) -> Landscape:
    """Return the landscape of the first round of `pool`."""
    best = objective.best(study, pool, in_scope(study, trials, baseline))
    row = PoolStatus(name=pool.name, round=1, best=None if best is None else _best(best))
    status = StudyStatus(pools=[row], trials=[trial_row(study, trial) for trial in trials])
    found = to_landscape(status, row, replace(study, pools=(pool,), model_facts=facts))
    assert found is not None
    return found


def _best(trial: Trial) -> Best:
    return Best(
        pool=trial.pool,
        round=trial.round,
        gpu_count=trial.configuration.gpu_count,
        batch_size=trial.configuration.batch_size,
        extra=shown_extra(trial.configuration) or None,
        throughput="1",
        throughput_per_gpu="1",
        spread="0",
        run=trial.run,
    )
