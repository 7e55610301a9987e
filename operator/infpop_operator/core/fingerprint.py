"""Identities: what a measurement belongs to, and deterministic names of runs.

Two numbers may be compared only when their measurement identity is the same. Budget, objective, search space and
time-outs are not part of it: changing them keeps what was measured.
"""

import hashlib
import json

from infpop_operator.core.model import PlannedTrial, Pool, Study

MEASUREMENT_VERSION = 2  # of our own method: raised whenever the runner would find another number for the same run
_TIMEOUTS = {"load_timeout_seconds", "measure_timeout_seconds"}
_NAME_PREFIX_LENGTH = 52  # a Job name is a label value: 63 characters, less a dash and ten of the hash


def digest(value: object) -> str:
    """Return the SHA-256 of `value`'s canonical JSON, in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def measurement_identity(study: Study, pool: Pool) -> str:
    """Return the identity that measurements of `study` on `pool` share, 16 hex digits.

    Model and workload are identified by what is in them, not by the path that they were read from.
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
    return digest(parts | _asked_besides(study) | _share_of_node(pool))[:16]


def _asked_besides(study: Study) -> dict[str, object]:
    """Return the further metrics: what nobody asked of a trial is not known of it. Nothing where there are none."""
    if not study.metrics:
        return {}
    return {"metrics": {metric.name: [metric.query, metric.unit] for metric in study.metrics}}


def _share_of_node(pool: Pool) -> dict[str, object]:
    """Return what a run is given of its node as far as it changes numbers. Nothing where the study does not say.

    Requested CPUs are the engine's share of a busy node. Memory is a limit that a run keeps to or dies of, except where
    the devices are CPUs: there vLLM makes its cache as large as the limit allows.
    """
    share = {"cpu_millicores": pool.cpu_millicores}
    if pool.device == "cpu":
        share["memory_bytes"] = pool.memory_bytes
    given = {name: amount for name, amount in share.items() if amount is not None}
    return {"share_of_node": given} if given else {}


def run_name(
    study: Study, *, pool: str, round_number: int, attempt: int, longer: bool, trials: tuple[PlannedTrial, ...]
) -> str:
    """Return `<study>-<10 hex>`, the same for the same arguments, at most 63 characters."""
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
