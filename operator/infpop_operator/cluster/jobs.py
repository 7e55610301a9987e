"""From a study and a planned run to its Job: settings of the Pod, time limits, and what a refusal means."""

from datetime import datetime
from math import ceil
from typing import Any

from infpop_operator.adapters.kube.errors import KubeQuotaError, KubeRefusedError
from infpop_operator.adapters.kube.job_manifest import PodSettings, Toleration, build_job
from infpop_operator.adapters.kube.observe import PhaseLimits
from infpop_operator.api.quantities import seconds
from infpop_operator.api.spec import StudySpec
from infpop_operator.api.spec_pool import NodePool
from infpop_operator.cluster.resolve import ResolvedStudy, image_of
from infpop_operator.core.model import Lost, Run
from infpop_operator.core.run_spec import LONGER_FACTOR, build_run_spec
from infpop_operator.settings import Settings

_RUN_GRACE_SECONDS = 120.0  # start of the runner, and what it needs to leave its result
_JOB_GRACE_SECONDS = 300.0  # the Job's own deadline is the last resort: it tells less than ours


def job_of(prepared: ResolvedStudy, run: Run, settings: Settings) -> dict[str, Any]:
    """Return the manifest of the Job of `run`."""
    spec = build_run_spec(prepared.study, run, scrape_grace_seconds=settings.held_seconds)
    limits = phase_limits(prepared.document.spec, run, settings)
    deadline = limits.schedule_seconds + limits.pull_seconds + limits.run_seconds + _JOB_GRACE_SECONDS
    return build_job(
        prepared.owner, run, spec, pod_settings(prepared, run.pool, settings), deadline_seconds=ceil(deadline)
    )


def phase_limits(spec: StudySpec, run: Run, settings: Settings) -> PhaseLimits:
    """Return how long `run` may wait for a node, for its image and container, and then take as a whole.

    The runner keeps its own time for loading and measuring, and may load again for each trial after an out-of-memory.
    """
    timeouts = spec.measurement.timeouts
    measure = seconds(timeouts.measure) * (LONGER_FACTOR if run.longer else 1.0)
    return PhaseLimits(
        schedule_seconds=seconds(timeouts.schedule),
        pull_seconds=seconds(timeouts.pull),
        run_seconds=len(run.trials) * (seconds(timeouts.load) + measure) + settings.held_seconds + _RUN_GRACE_SECONDS,
    )


def pod_settings(prepared: ResolvedStudy, pool_name: str, settings: Settings) -> PodSettings:
    """Return what the Pods of a pool get, from the study and the nodes that the pool matched."""
    spec = prepared.document.spec
    pool = next(pool for pool in spec.node_pools if pool.name == pool_name)
    token, source = spec.model.token_secret_ref, spec.workload.source.config_map
    matched = prepared.matched.get(pool_name)
    return PodSettings(
        image=image_of(spec, pool, settings) or "",
        image_pull_secrets=tuple(secret.name for secret in spec.engine.image_pull_secrets),
        token_secret=None if token is None else (token.name, token.key),
        cache_claim=spec.model.cache_claim,
        workload_config_map=None if source is None else (source.name, source.key),
        node_selector=pool.node_selector,
        tolerations=_tolerations(pool),
        node_labels=() if matched is None else matched.node_labels,
        gpu_resource=pool.gpu_resource,
        cpu=None if pool.resources is None else pool.resources.cpu,
        memory=None if pool.resources is None else pool.resources.memory,
        queue_name=None if spec.scheduling is None else spec.scheduling.queue_name,
        priority_class=None if spec.scheduling is None else spec.scheduling.priority_class_name,
    )


def refusal(error: KubeRefusedError, now: datetime) -> Lost:
    """Return the loss of a run whose Job the API server refused.

    A quota is nobody's fault and may have room later; anything else is a policy or a name that somebody has to change.
    """
    if isinstance(error, KubeQuotaError):
        return Lost(reason="QuotaExceeded", detail=str(error), ended_at=now, counts=False)
    return Lost(reason="JobRefused", detail=str(error), ended_at=now)


def _tolerations(pool: NodePool) -> tuple[Toleration, ...]:
    return tuple(
        Toleration(
            key=each.key,
            operator=each.operator,
            value=each.value,
            effect=each.effect,
            seconds=each.toleration_seconds,
        )
        for each in pool.tolerations
    )
