"""Compute measurement identities and deterministic run names.

Two values may be compared only if their measurement identities are equal. Budget, objective, search space and timeouts
are not part of the identity: changing them keeps earlier measurements.
"""

import hashlib
import json

from infpop_operator.core.extra_metrics import IDENTIFIED_BY
from infpop_operator.core.model import PlannedTrial
from infpop_operator.core.study import Pool, Study

MEASUREMENT_VERSION = 2  # of the method; increment it when the runner would measure other values for the same run
_TIMEOUTS = {"load_timeout_seconds", "measure_timeout_seconds"}
_NAME_PREFIX_LENGTH = 52  # a Job name is a label value: 63 characters, minus a dash and ten hash characters


def digest(value: object) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def measurement_identity(study: Study, pool: Pool) -> str:
    """Return the identity that all measurements of `study` on `pool` share, 16 hex digits.

    Model and workload are identified by their contents, not by the path that they were read from.
    """
    parts = {
        "model": study.model.model_dump(mode="json", exclude={"name"}) | {"fingerprint": study.model_fingerprint},
        "engine": study.engine.model_dump(mode="json"),
        "workload": {
            "fingerprint": study.workload_fingerprint,
            "samples": study.workload.samples,
            "max_new_tokens": study.workload.max_new_tokens,
        },
        "measurement": study.measurement.model_dump(mode="json", exclude=_TIMEOUTS),
        "seed": study.algorithm.seed,
        "trials_share_a_load": study.algorithm.trials_per_run > 1,
        "hardware": pool.fingerprint,
        "software": pool.software,
        "method": MEASUREMENT_VERSION,
    }
    return digest(parts | _extra_metrics(study) | _requested_resources(pool))[:16]


def _extra_metrics(study: Study) -> dict[str, object]:
    """Return the extra metrics, empty without any: earlier trials have no values for metrics added later."""
    if not study.metrics:
        return {}
    queries = {metric.name: IDENTIFIED_BY.get(metric.query, metric.query) for metric in study.metrics}
    return {"metrics": {metric.name: [queries[metric.name], metric.unit] for metric in study.metrics}}


def _requested_resources(pool: Pool) -> dict[str, object]:
    """Return the requested node resources that affect measurements, empty where the study sets none.

    Requested CPUs determine the engine's share of a busy node. Memory is only a limit: a run stays below it or is
    killed. On CPU devices it matters, because vLLM makes its cache as large as the limit allows.
    """
    share = {"cpu_millicores": pool.cpu_millicores}
    if pool.device == "cpu":
        share["memory_bytes"] = pool.memory_bytes
    requested = {name: amount for name, amount in share.items() if amount is not None}
    return {"share_of_node": requested} if requested else {}


def run_name(
    study: Study, *, pool: str, round_number: int, attempt: int, longer: bool, trials: tuple[PlannedTrial, ...]
) -> str:
    """Return `<study>-<10 hex digits>`, at most 63 characters; the same arguments give the same name."""
    content = {
        "study": study.key,
        "pool": pool,
        "round": round_number,
        "attempt": attempt,
        "longer": longer,
        "trials": [
            [
                trial.index,
                trial.configuration.gpu_count,
                trial.configuration.batch_size,
                dict(trial.configuration.extra),
            ]
            for trial in trials
        ],
    }
    return f"{study.name[:_NAME_PREFIX_LENGTH]}-{digest(content)[:10]}"
