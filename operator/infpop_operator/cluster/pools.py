"""Turn a pool of a study's spec and the Nodes that match it into a pool of the search.

A pool that was tuned before and has no Nodes now stays in the search without capacity for a run, because its Nodes may
come back unchanged. Where an autoscaler adds the first Node for a Pod, a run waits on the pool before there is one; its
hardware is unseen until then.
"""

from collections.abc import Sequence
from dataclasses import replace

from infpop_operator.adapters.kube.node_gpus import is_cloud_name
from infpop_operator.adapters.kube.node_pools import (
    MatchedPool,
    PoolQuery,
    UnmatchedPool,
    added_devices,
    is_autoscaled,
    without_flapping,
)
from infpop_operator.api.merged_pod_template import measured_facts, merge_pod_templates
from infpop_operator.api.quantities import interval, memory_bytes, millicores
from infpop_operator.api.spec import StudySpec
from infpop_operator.api.spec_pool import NodePool, Resources
from infpop_operator.api.status_context import PoolProblem
from infpop_operator.core.history import current_round
from infpop_operator.core.model import SCALED_TO_ZERO, SCALING_UP, UNSEEN, Hardware, History
from infpop_operator.core.study import Pool
from infpop_operator.settings import Settings

_AWAITED = "; a run waits there meanwhile, so that an autoscaler adds a node"
_STARTED_ALL_THE_SAME = "; a run that starts there makes an autoscaler add one"


def image_of(spec: StudySpec, pool: NodePool, settings: Settings) -> str | None:
    """Return the runner's image for a pool: its own, the engine's, the operator's default."""
    return pool.image or spec.engine.image or settings.runner_image


def problem_of(node: NodePool, match: UnmatchedPool, history: History, *, is_new: bool) -> PoolProblem:
    """Return why the pool cannot be tuned now; `is_new`: it has had no Nodes yet."""
    if not is_awaited(node, match):
        is_unknown = bool(match.products) and is_new
        return PoolProblem(reason=match.reason, message=match.message, is_unknown_product=is_unknown)
    has_run = any(entry.run.pool == node.name for entry in history.active)
    reason = match.reason
    if node.scale_from_zero is not None:
        reason = SCALING_UP if has_run else SCALED_TO_ZERO
    return PoolProblem(
        reason=reason,
        message=match.message + (_AWAITED if has_run else _STARTED_ALL_THE_SAME),
    )


def query_of(pool: NodePool) -> PoolQuery:
    """Return what the spec says about a pool."""
    added = pool.scale_from_zero
    return PoolQuery(
        name=pool.name,
        device=pool.device,
        gpu_product=pool.gpu_product,
        node_selector=pool.node_selector,
        gpu_resource=pool.gpu_resource,
        gpus_per_node=None if added is None else added.gpus_per_node,
        added_product=None if added is None else added.gpu_product,
    )


def steady(match: MatchedPool | UnmatchedPool, known: Sequence[Hardware]) -> MatchedPool | UnmatchedPool:
    """Return `match` with the identity of the known hardware, the newest first, where it is the same."""
    return without_flapping(match, [hardware for hardware in known if hardware.fingerprint != UNSEEN])


def known_hardware(pool: str, remembered: Hardware | None, history: History) -> tuple[Hardware, ...]:
    """Return the hardware of the pool's rounds, the newest round first; `remembered` is that of the newest."""
    if remembered is None:
        return ()
    newest, *older = (entry for entry in reversed(history.rounds) if entry.pool == pool)
    changed = None if newest.change is None else newest.change.seen
    others = (changed, *(entry.hardware for entry in older))
    return (remembered, *(hardware for hardware in others if hardware is not None))


def changed_hardware(pool: str, history: History) -> Hardware | None:
    """Return the hardware of the nodes that the pool last had, if its newest round does not have it yet."""
    newest = current_round(history, pool)
    return None if newest is None or newest.change is None else newest.change.seen


def pool_of(
    node: NodePool,
    match: MatchedPool | UnmatchedPool,
    known: Sequence[Hardware],
    spec: StudySpec,
    settings: Settings,
    *,
    changed: Hardware | None = None,
) -> Pool | None:
    """Return the pool of the search, None for one that has never had Nodes and awaits none.

    Args:
        node: the pool in the spec.
        match: the Nodes that match it now, or why none do.
        known: the hardware of its rounds, the newest first.
        spec: of the study.
        settings: the operator's settings.
        changed: the hardware of its last Nodes if its newest round does not have it yet. Before a new round starts they
            may be away again: not ready, or removed by an autoscaler, because no run needs them until then.
    """
    remembered = known[0] if known else None
    if isinstance(match, MatchedPool):
        return replace(
            pool_without_room(node, _hardware(match, known), spec, settings),
            usable_device_count=match.usable_device_count,
            total_device_count=match.total_device_count,
            known_as=_known_as(match, remembered),
        )
    if is_awaited(node, match):
        hardware = changed or remembered or Hardware(fingerprint=UNSEEN)
        if node.scale_from_zero is not None:
            hardware = replace(hardware, device_count=added_devices(query_of(node)))
        pool = pool_without_room(node, hardware, spec, settings)
        return replace(pool, usable_device_count=None, total_device_count=None)
    # Absent Nodes may come back as they were: the round stays open, or the change is kept, without capacity for a run.
    if remembered is None or remembered.fingerprint == UNSEEN:
        return None
    return pool_without_room(node, changed or remembered, spec, settings)


def is_awaited(node: NodePool, match: UnmatchedPool) -> bool:
    """Return whether a run should wait for the pool's first Node, which an autoscaler adds when it sees a Pod.

    The study says that one does, or the pool's node selector names a group of Nodes of an autoscaler.
    """
    if node.scale_from_zero is not None:
        return match.lacks_nodes
    return match.may_pass and is_autoscaled(query_of(node))


def _known_as(match: MatchedPool, remembered: Hardware | None) -> str | None:
    """Return the fingerprint under which the pool's round was opened if less was known about its Nodes then."""
    if remembered is None or remembered.fingerprint == match.fingerprint:
        return None
    is_vague = remembered.fingerprint == UNSEEN or is_cloud_name(remembered)
    return remembered.fingerprint if is_vague else None


def pool_without_room(node: NodePool, hardware: Hardware, spec: StudySpec, settings: Settings) -> Pool:
    """Return the pool with this hardware, and with no device that a run can have now."""
    resources = node.resources or Resources()
    return Pool(
        name=node.name,
        device=node.device,
        software=image_of(spec, node, settings) or "",
        price_per_gpu_hour=node.price,
        fingerprint=hardware.fingerprint,
        gpu_model=hardware.gpu_model,
        device_count=hardware.device_count,
        usable_device_count=0,
        total_device_count=0,
        cpu_millicores=None if resources.cpu is None else millicores(resources.cpu),
        memory_bytes=None if resources.memory is None else memory_bytes(resources.memory),
        gpu_memory_mib=hardware.gpu_memory_mib,
        compute_capability=hardware.compute_capability,
        driver_major=hardware.driver_major,
        mig=hardware.mig,
        schedule_timeout=interval(spec.schedule_timeout(node)),
        pod_template=measured_facts(merge_pod_templates(spec.engine.pod_template, node.pod_template)),
    )


def _hardware(match: MatchedPool, known: Sequence[Hardware]) -> Hardware:
    """Return the hardware of the matched Nodes; facts that are known and that vary by Node stay as they were."""
    before = next((hardware for hardware in known if hardware.fingerprint == match.fingerprint), None)
    seen = Hardware(fingerprint=match.fingerprint, gpu_model=match.gpu_model, device_count=match.device_count)
    if match.kind is None:
        return seen
    return replace(
        seen,
        gpu_memory_mib=(before and before.gpu_memory_mib) or match.kind.memory_mib,
        compute_capability=match.kind.compute or None,
        driver_major=(before and before.driver_major) or next(reversed(match.driver_majors), None),
        mig=match.kind.mig,
    )
