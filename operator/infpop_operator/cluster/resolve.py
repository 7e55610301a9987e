"""Resolve a study: parse and check the object, and join it with the known Nodes, so that `core.decide` can take it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from infpop_operator.adapters.kube.job_manifest import Owner
from infpop_operator.adapters.kube.node_gpus import is_cloud_name
from infpop_operator.adapters.kube.node_pools import (
    MatchedPool,
    PoolQuery,
    UnmatchedPool,
    is_autoscaled,
    match_pool,
    without_flapping,
)
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.api.convert import to_study
from infpop_operator.api.parse import parse_object
from infpop_operator.api.quantities import memory_bytes, millicores
from infpop_operator.api.spec import StudySpec, ThroughputStudy
from infpop_operator.api.spec_pool import NodePool, Resources
from infpop_operator.api.status_context import PoolNodes, PoolProblem
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.fingerprint import digest, measurement_identity
from infpop_operator.core.history import current_round
from infpop_operator.core.model import Hardware, History
from infpop_operator.core.study import Pool, Study
from infpop_operator.settings import RUNNER_IMAGE_VARIABLE, Settings

_UNSEEN = "unseen"  # fingerprint of a pool that has had no Node yet
_AWAITED = "; a run waits there meanwhile, so that an autoscaler adds a node"
MatchPool = Callable[[PoolQuery, Sequence[NodeRecord]], MatchedPool | UnmatchedPool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedStudy:
    """A study that `core.decide` can take.

    `matched` has the pools that match Nodes now; `problems` says why each of the other pools cannot be tuned. A pool
    that was tuned before and matches no Nodes now is still in `study.pools`, without capacity for a run. The pools in
    `awaited` have no Nodes, but an autoscaler may add them: a run is started there, so that it sees a Pod.
    """

    document: ThroughputStudy
    owner: Owner
    study: Study
    matched: Mapping[str, MatchedPool]
    problems: Mapping[str, PoolProblem]
    awaited: frozenset[str] = frozenset()

    @property
    def pool_nodes(self) -> Mapping[str, PoolNodes]:
        """Return how many Nodes each pool has, and how many devices the largest of them has."""
        return {
            name: PoolNodes(nodes=pool.nodes, gpus_per_node=pool.device_count) for name, pool in self.matched.items()
        }


def owner_of(body: Mapping[str, Any]) -> Owner:
    """Return the owner that the Jobs of this study refer to."""
    metadata = body["metadata"]
    return Owner(name=metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"])


def parse_study(body: Mapping[str, Any], settings: Settings) -> ThroughputStudy:
    """Return the parsed study object, checked for what a cluster requires. This needs no journal.

    Raises:
        StudyError: the spec is invalid on every cluster.
    """
    document = parse_object(body)
    problems = list(_cluster_problems(document.spec, settings))
    if problems:
        raise StudyError(problems)
    return document


def join_nodes(
    document: ThroughputStudy,
    owner: Owner,
    nodes: Sequence[NodeRecord],
    history: History,
    settings: Settings,
    *,
    match: MatchPool = match_pool,
    previous: StudyStatus | None = None,
) -> ResolvedStudy:
    """Return the study joined with the known Nodes.

    Args:
        document: the parsed study object.
        owner: name, namespace and uid of the study.
        nodes: all known Nodes.
        history: its rounds hold the hardware of pools whose Nodes are absent now; its runs are not needed.
        settings: the operator's settings.
        match: `match_pool`, or a version of it that caches its results.
        previous: the status as the operator read it. It is used only for a round without hardware, opened by an older
            version that kept the hardware only in the status, and only if the round's identity confirms that hardware.
    """
    remembered = {
        node.name: known
        for node in document.spec.node_pools
        if (known := _remembered(document, owner, node, history=history, settings=settings, previous=previous))
        is not None
    }
    matches = {
        pool.name: _steady(match(_query(pool), nodes), remembered.get(pool.name)) for pool in document.spec.node_pools
    }
    pools = [
        _pool(node, matches[node.name], remembered.get(node.name), document.spec, settings)
        for node in document.spec.node_pools
    ]
    awaited = frozenset(node.name for node in document.spec.node_pools if _is_awaited(node, matches[node.name]))
    return ResolvedStudy(
        document=document,
        owner=owner,
        study=_study(document, owner, tuple(pool for pool in pools if pool is not None)),
        matched={name: match for name, match in matches.items() if isinstance(match, MatchedPool)},
        awaited=awaited,
        problems={
            name: PoolProblem(
                reason=match.reason,
                message=match.message + (_AWAITED if name in awaited else ""),
                is_unknown_product=bool(match.products) and name not in remembered,
            )
            for name, match in matches.items()
            if isinstance(match, UnmatchedPool)
        },
    )


def image_of(spec: StudySpec, pool: NodePool, settings: Settings) -> str | None:
    """Return the runner's image for a pool: its own, the engine's, the operator's default."""
    return pool.image or spec.engine.image or settings.runner_image


def _study(document: ThroughputStudy, owner: Owner, pools: tuple[Pool, ...]) -> Study:
    study = to_study(
        document,
        pools=pools,
        model_fingerprint=document.spec.model.name,
        # A hash of the source's name only. If the text behind the name changes, the runner's hash of the text shows it.
        workload_fingerprint=digest(document.spec.workload.source.model_dump(mode="json"))[:16],
        model_facts=None,
    )
    # With the uid, so that a study that is deleted and created again never finds the Jobs of its predecessor.
    key = f"{owner.namespace}/{owner.name}/{owner.uid}"
    return replace(study, key=key, suspended=document.spec.suspend)


def _query(pool: NodePool) -> PoolQuery:
    return PoolQuery(
        name=pool.name,
        device=pool.device,
        gpu_product=pool.gpu_product,
        node_selector=pool.node_selector,
        gpu_resource=pool.gpu_resource,
    )


def _steady(match: MatchedPool | UnmatchedPool, known: Hardware | None) -> MatchedPool | UnmatchedPool:
    if known is None or known.fingerprint == _UNSEEN:
        return match
    return without_flapping(match, fingerprint=known.fingerprint, gpu_model=known.gpu_model)


def _pool(
    node: NodePool,
    match: MatchedPool | UnmatchedPool,
    remembered: Hardware | None,
    spec: StudySpec,
    settings: Settings,
) -> Pool | None:
    if isinstance(match, MatchedPool):
        return replace(
            _pool_without_room(node, _hardware(match), spec, settings),
            usable_device_count=match.usable_device_count,
            total_device_count=match.total_device_count,
            known_as=_known_as(match, remembered),
        )
    if _is_awaited(node, match):
        hardware = remembered or Hardware(fingerprint=_UNSEEN)
        pool = _pool_without_room(node, hardware, spec, settings)
        return replace(pool, usable_device_count=None, total_device_count=None)
    # Absent Nodes may come back unchanged: the round stays open, without capacity for a run.
    if remembered is None or remembered.fingerprint == _UNSEEN:
        return None
    return _pool_without_room(node, remembered, spec, settings)


def _is_awaited(node: NodePool, match: MatchedPool | UnmatchedPool) -> bool:
    """Return whether a run should wait for the pool's first Node, which an autoscaler adds when it sees a Pod."""
    return isinstance(match, UnmatchedPool) and match.may_pass and is_autoscaled(_query(node))


def _known_as(match: MatchedPool, remembered: Hardware | None) -> str | None:
    """Return the fingerprint under which the pool's round was opened if less was known about its Nodes then."""
    if remembered is None or remembered.fingerprint == match.fingerprint:
        return None
    is_vague = remembered.fingerprint == _UNSEEN or is_cloud_name(remembered.fingerprint, remembered.gpu_model)
    return remembered.fingerprint if is_vague else None


def _pool_without_room(node: NodePool, hardware: Hardware, spec: StudySpec, settings: Settings) -> Pool:
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
    )


def _hardware(match: MatchedPool) -> Hardware:
    return Hardware(fingerprint=match.fingerprint, gpu_model=match.gpu_model, device_count=match.device_count)


def _remembered(
    document: ThroughputStudy,
    owner: Owner,
    node: NodePool,
    *,
    history: History,
    settings: Settings,
    previous: StudyStatus | None,
) -> Hardware | None:
    """Return the hardware of the pool's newest round, None if it is unknown."""
    newest = current_round(history, node.name)
    if newest is None or newest.hardware is not None:
        return None if newest is None else newest.hardware
    shown = _shown(node.name, previous)
    if shown is None:
        return None
    pool = _pool_without_room(node, shown, document.spec, settings)
    return shown if measurement_identity(_study(document, owner, (pool,)), pool) == newest.identity else None


def _shown(pool: str, previous: StudyStatus | None) -> Hardware | None:
    """Return the hardware of a pool according to a status, None if the status has none."""
    row = next((row for row in previous.pools if row.name == pool), None) if previous is not None else None
    if row is None or row.fingerprint is None:
        return None
    return Hardware(fingerprint=row.fingerprint, gpu_model=row.gpu, device_count=row.gpus_per_node)


def _cluster_problems(spec: StudySpec, settings: Settings) -> Iterator[Problem]:
    """Yield the problems of a spec that is valid on one machine but cannot work in a Pod."""
    for position, pool in enumerate(spec.node_pools):
        if image_of(spec, pool, settings) is None:
            yield Problem(
                field=f"spec.nodePools[{position}].image",
                value="",
                message="is not set, spec.engine.image is not set either, and the operator has no default image",
                remedy=f"Set one of the two fields, or set {RUNNER_IMAGE_VARIABLE} for the operator",
            )
    for field, path in _paths(spec):
        if not path.startswith("/"):
            message = "is a relative path, which a Pod cannot resolve"
            remedy = "Give an absolute path inside the runner's image or on model.cacheClaim"
            yield Problem(field=field, value=path, message=message, remedy=remedy)


def _paths(spec: StudySpec) -> Iterable[tuple[str, str]]:
    if spec.model.name.startswith((".", "~")):
        yield ("spec.model.name", spec.model.name)
    if spec.workload.source.file is not None:
        yield ("spec.workload.source.file.path", spec.workload.source.file.path)
    simulation = spec.engine.simulation
    if simulation is not None and simulation.recorded is not None:
        yield ("spec.engine.simulation.recorded.path", simulation.recorded.path)
