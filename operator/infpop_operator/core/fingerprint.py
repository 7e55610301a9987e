"""Compute measurement identities and deterministic run names.

Two values may be compared only if their measurement identities are equal. Budget, objective, search space and timeouts
are not part of the identity: changing them keeps earlier measurements.
"""

import hashlib
import json
from dataclasses import fields

from infpop_operator.core.extra_metrics import IDENTIFIED_BY
from infpop_operator.core.model import Origin, PlannedTrial, Run
from infpop_operator.core.study import AUTO, Pool, Study

MEASUREMENT_VERSION = 2  # of the method; increment it when the runner would measure other values for the same run
# What does not change the value that is measured: how long to wait, and how much of it to measure.
_NOT_IDENTITY = {"load_timeout_seconds", "measure_timeout_seconds", "mode", "interval_ratio"}
_NEWER = ("confirms", "in_order", "to_beat_tokens_per_second")  # fields of a run that older versions did not have
_DEFAULTS = {field.name: field.default for field in fields(Run)}
_NAME_PREFIX_LENGTH = 52  # a Job name is a label value: 63 characters, minus a dash and ten hash characters


def digest(value: object) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def measurement_identity(study: Study, pool: Pool) -> str:
    """Return the identity that all measurements of `study` on `pool` share, 16 hex digits."""
    return digest(identity_parts(study, pool))[:16]


def identity_parts(study: Study, pool: Pool) -> dict[str, object]:
    """Return what the measurement identity is made of, as JSON values by name.

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
        "measurement": study.measurement.model_dump(mode="json", exclude=_NOT_IDENTITY),
        "seed": study.algorithm.seed,
        "trials_share_a_load": study.algorithm.trials_per_run not in {1, AUTO},
        "hardware": pool.fingerprint,
        "software": pool.software,
        "method": MEASUREMENT_VERSION,
    }
    return parts | _extra_metrics(study) | _requested_resources(pool) | _pod_template(pool)


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


def _pod_template(pool: Pool) -> dict[str, object]:
    """Return what the study sets of a run's Pod, empty without any: earlier versions set nothing."""
    return {"pod_template": dict(pool.pod_template)} if pool.pod_template else {}


def run_name(study: Study, run: Run) -> str:
    """Return `<study>-<10 hex digits>`, at most 63 characters, from everything of `run` but its name.

    What older versions did not have is left out where it has its default: an upgrade starts no run a second time.
    """
    content = {
        "study": study.key,
        "pool": run.pool,
        "round": run.round,
        "attempt": run.attempt,
        "longer": run.longer,
        "trials": [_named(trial) for trial in run.trials],
    }
    newer = {name: getattr(run, name) for name in _NEWER if getattr(run, name) != _DEFAULTS[name]}
    return f"{study.name[:_NAME_PREFIX_LENGTH]}-{digest(content | newer)[:10]}"


def _named(trial: PlannedTrial) -> list[object]:
    cell, needs = trial.configuration, trial.needs_tokens_per_second
    plain = [trial.index, cell.gpu_count, cell.batch_size, dict(cell.extra)]
    return plain if needs is None else [*plain, needs]


def reused_run_name(study: Study, *, pool: str, round_number: int, origin: Origin, first_index: int) -> str:
    """Return the name of the record of a run that another study made; no run of this study has it."""
    content = [study.key, pool, round_number, "reused", origin.study, origin.run, first_index]
    return f"{study.name[:_NAME_PREFIX_LENGTH]}-{digest(content)[:10]}"
