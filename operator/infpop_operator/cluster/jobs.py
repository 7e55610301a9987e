"""Build the Job of a planned run: its Pod settings, its time limits, and what a refusal by the API server means."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from math import ceil
from typing import Any

from infpop_operator.adapters.kube.errors import KubeQuotaError, KubeRefusedError
from infpop_operator.adapters.kube.job_manifest import PodSettings, build_job
from infpop_operator.adapters.kube.node_pools import avoided_hosts
from infpop_operator.adapters.kube.observe import PhaseLimits
from infpop_operator.adapters.kube.scale_up import NodeLabels
from infpop_operator.api.merged_pod_template import merge_pod_templates
from infpop_operator.api.quantities import seconds
from infpop_operator.api.spec import StudySpec
from infpop_operator.api.spec_pool import NodePool, Resources
from infpop_operator.cluster.pools import image_of
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.core.model import Lost, Run
from infpop_operator.core.run_spec import LONGER_FACTOR, build_run_spec
from infpop_operator.settings import Settings

_RUN_GRACE_SECONDS = 120.0  # the runner's start, and the time that it needs to write its result
_JOB_GRACE_SECONDS = 60.0  # the operator's own limits, checked each tick, say more: they come first while it runs


def job_of(resolved: ResolvedStudy, run: Run, settings: Settings, *, refusing: Sequence[str] = ()) -> dict[str, Any]:
    """Return the manifest of the Job of `run`; it avoids the Nodes in `refusing` if the pool has others."""
    spec = build_run_spec(resolved.study, run, scrape_grace_seconds=settings.held_seconds)
    limits = phase_limits(resolved.document.spec, run, settings)
    deadline = limits.schedule_seconds + limits.pull_seconds + limits.run_seconds + _JOB_GRACE_SECONDS
    pod = pod_settings(resolved, run.pool, settings)
    matched = resolved.matched.get(run.pool)
    if matched is not None:
        pod = replace(pod, avoided_hosts=avoided_hosts(matched.places, refusing, run.gpu_count))
    return build_job(resolved.owner, run, spec, pod, deadline_seconds=ceil(deadline))


def phase_limits(spec: StudySpec, run: Run, settings: Settings) -> PhaseLimits:
    """Return how long `run` may wait for a Node, then for its image and container, and how long it may then take.

    The runner enforces its own limits for loading and measuring. After an out-of-memory error it may load the model
    again for each trial.
    """
    timeouts = spec.measurement.timeouts
    pool = next((pool for pool in spec.node_pools if pool.name == run.pool), None)
    measure = seconds(timeouts.measure) * (LONGER_FACTOR if run.longer else 1.0)
    return PhaseLimits(
        schedule_seconds=seconds(spec.schedule_timeout(pool)),
        pull_seconds=seconds(timeouts.pull),
        run_seconds=len(run.trials) * (seconds(timeouts.load) + measure) + settings.held_seconds + _RUN_GRACE_SECONDS,
    )


def pod_settings(resolved: ResolvedStudy, pool_name: str, settings: Settings) -> PodSettings:
    """Return the Pod settings for a pool, from the study and the Nodes that the pool matches."""
    spec = resolved.document.spec
    pool = _pool_named(spec, pool_name)
    token, source = spec.model.token_secret_ref, spec.workload.source.config_map
    match = resolved.matched.get(pool_name) or resolved.awaited.get(pool_name)
    resources = pool.resources or Resources()
    return PodSettings(
        image=image_of(spec, pool, settings) or "",
        image_pull_secrets=tuple(secret.name for secret in spec.engine.image_pull_secrets),
        token_secret=None if token is None else (token.name, token.key),
        cache_claim=spec.model.cache_claim,
        workload_config_map=None if source is None else (source.name, source.key),
        node_selector=pool.node_selector,
        tolerations=tuple(pool.tolerations),
        node_labels=NodeLabels() if match is None else match.node_labels,
        gpu_resource=pool.gpu_resource,
        cpu=resources.cpu,
        memory=resources.memory,
        queue_name=None if spec.scheduling is None else spec.scheduling.queue_name,
        priority_class=None if spec.scheduling is None else spec.scheduling.priority_class_name,
        template=merge_pod_templates(spec.engine.pod_template, pool.pod_template),
    )


def _pool_named(spec: StudySpec, name: str) -> NodePool:
    return next(pool for pool in spec.node_pools if pool.name == name)


def refusal(error: KubeRefusedError, now: datetime) -> Lost:
    """Return the `Lost` observation of a run whose Job the API server refused.

    A full quota does not count as a failure, because it may have room later. Any other refusal counts: a user or an
    administrator has to change a policy or a name.
    """
    if isinstance(error, KubeQuotaError):
        return Lost(reason="QuotaExceeded", detail=str(error), ended_at=now, counts=False)
    return Lost(reason="JobRefused", detail=str(error), ended_at=now)
