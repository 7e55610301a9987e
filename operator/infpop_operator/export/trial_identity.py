"""An identifier of a trial that is the same in every export of the same source."""

import json
import uuid

from infpop_operator.analysis.rows import TrialResultRow

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "trials.infpop.io")


def trial_id(row: TrialResultRow, origin: str) -> str:
    """Return the UUID of a trial.

    It does not depend on what became of the trial: while a study goes on, a later export has the same identifiers.

    Args:
        row: the trial.
        origin: what tells its study from others of the same name: an absolute path, or `study/NAMESPACE/NAME`.
    """
    configuration = [row.model, row.engine, row.gpu_count, row.batch_size, sorted(row.extra.items())]
    if row.workload and not row.run:  # a file of recorded cells may have several workloads, each with its own trial 0
        configuration.append(row.workload)
    return _uuid([*_round(row, origin), row.trial, *configuration])


def round_id(row: TrialResultRow, origin: str) -> str:
    """Return the UUID that all trials of the same round, model and engine share."""
    return _uuid([*_round(row, origin), row.model, row.engine])


def _round(row: TrialResultRow, origin: str) -> list[object]:
    return [origin, row.study, row.pool, row.round]


def _uuid(parts: list[object]) -> str:
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts)))
