"""Resolve a study: parse and check the object, and join it with the known Nodes, so that `core.decide` can take it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from infpop_operator.adapters.kube.job_manifest import Owner
from infpop_operator.adapters.kube.node_pools import (
    MatchedPool,
    PoolQuery,
    UnmatchedPool,
    match_pool,
)
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.api.convert import to_study
from infpop_operator.api.parse import parse_object
from infpop_operator.api.rules_cluster import cluster_rules
from infpop_operator.api.spec import StudySpec, ThroughputStudy
from infpop_operator.api.spec_pool import NodePool
from infpop_operator.api.status_context import PoolNodes, PoolProblem
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.pools import (
    changed_hardware,
    image_of,
    is_awaited,
    known_hardware,
    pool_of,
    pool_without_room,
    problem_of,
    query_of,
    steady,
)
from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.fingerprint import digest, measurement_identity
from infpop_operator.core.history import current_round
from infpop_operator.core.model import UNSEEN, Hardware, History
from infpop_operator.core.study import Pool, Study
from infpop_operator.settings import RUNNER_IMAGE_VARIABLE, Settings

MatchPool = Callable[[PoolQuery, Sequence[NodeRecord]], MatchedPool | UnmatchedPool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedStudy:
    """A study that `core.decide` can take.

    `matched` has the pools that match Nodes now; `problems` says why each of the other pools cannot be tuned. A pool
    that was tuned before and matches no Nodes now is still in `study.pools`, without capacity for a run. The pools in
    `awaited` have no Nodes, but an autoscaler may add them: a run is started there, so that it sees a Pod. `queries`
    are what the study says about the pools to which it says that an autoscaler adds Nodes.
    """

    document: ThroughputStudy
    owner: Owner
    study: Study
    matched: Mapping[str, MatchedPool]
    problems: Mapping[str, PoolProblem]
    awaited: Mapping[str, UnmatchedPool] = field(default_factory=dict)
    queries: Mapping[str, PoolQuery] = field(default_factory=dict)

    @property
    def seen_pools(self) -> tuple[Pool, ...]:
        """Return the pools whose hardware is known: only their measurement identity is one of real hardware."""
        return tuple(pool for pool in self.study.pools if pool.fingerprint != UNSEEN)

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
    requested: str | None = None,
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
        requested: the value with which the user requests a new round, None without one.
    """
    spec = document.spec
    remembered = {
        node.name: hardware
        for node in spec.node_pools
        if (hardware := _remembered(document, owner, node, history=history, settings=settings, previous=previous))
        is not None
    }
    known = {node.name: known_hardware(node.name, remembered.get(node.name), history) for node in spec.node_pools}
    matches = {node.name: steady(match(query_of(node), nodes), known[node.name]) for node in spec.node_pools}
    pools = [
        pool_of(
            node, matches[node.name], known[node.name], spec, settings, changed=changed_hardware(node.name, history)
        )
        for node in spec.node_pools
    ]
    unmatched = [(node, found) for node in spec.node_pools if isinstance(found := matches[node.name], UnmatchedPool)]
    study = _study(document, owner, tuple(pool for pool in pools if pool is not None))
    return ResolvedStudy(
        document=document,
        owner=owner,
        study=replace(study, retune=replace(study.retune, requested=requested)),
        matched={name: found for name, found in matches.items() if isinstance(found, MatchedPool)},
        awaited={node.name: found for node, found in unmatched if is_awaited(node, found)},
        queries={node.name: query_of(node) for node in spec.node_pools if node.scale_from_zero is not None},
        problems={
            node.name: problem_of(node, found, history, is_new=node.name not in remembered) for node, found in unmatched
        },
    )


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
    pool = pool_without_room(node, shown, document.spec, settings)
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
    yield from cluster_rules(spec)
