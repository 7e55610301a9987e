"""Studies as API server JSON, at chosen instants of a simulated search on two pools."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from factories.fake_executor import Played, play_landscape
from factories.studies import START
from factories.study_documents import make_study_document
from infpop_operator.api.landscapes import described_study
from infpop_operator.api.parse import parse_object
from infpop_operator.api.status import refused_status, to_status, waiting_status
from infpop_operator.api.status_context import PoolNodes, PoolProblem, StatusContext
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.api.study_object import parse_study_object
from infpop_operator.core.errors import Problem
from infpop_operator.core.model import Observation, Run
from infpop_operator.local.snapshot import Snapshot
from infpop_operator.report.place import on_cluster
from infpop_operator.report.status_page import StatusPage
from infpop_operator.report.status_view import to_page
from infpop_runner.contract import InfeasibleReason, RunSpec
from report.played_studies import driven

Body = dict[str, Any]
POOLS = [{"name": "a100", "gpuProduct": "A100", "pricePerGPUHour": "3.67"}, {"name": "v100", "gpuProduct": "V100"}]
SPEC: dict[str, Any] = {
    "nodePools": POOLS,
    "budget": {"maxTrials": 8, "parallelTrials": 2, "maxConcurrentGPUs": 16, "maxFailedTrials": 10},
    "baseline": {"gpuCount": 1, "batchSize": 8},
    "publish": {"configMap": "codellama-best"},
}
NODES = {"a100": PoolNodes(nodes=2, gpus_per_node=8), "v100": PoolNodes(nodes=1, gpus_per_node=8)}
NOW = START + timedelta(minutes=3)


def landscape(gpu_count: int, batch_size: int) -> float | InfeasibleReason:
    """Return a landscape with an out-of-memory edge."""
    return "GpuOutOfMemory" if batch_size > 64 * gpu_count else 100.0 * gpu_count**0.7 * batch_size**0.4


def half_on_v100(run: Run, spec: RunSpec, now: datetime) -> Played:
    """Simulate the landscape at half the speed on the pool v100; every run of batch size 1 is killed."""
    if spec.trials[0].batch_size == 1:
        return Played(seconds=1, outcome="Killed")
    factor = 0.5 if run.pool == "v100" else 1.0

    def at(gpu_count: int, batch_size: int) -> float | InfeasibleReason:
        found = landscape(gpu_count, batch_size)
        return found if isinstance(found, str) else factor * found

    return play_landscape(at)(run, spec, now)


def snapshots_of(document: Mapping[str, Any]) -> list[Snapshot]:
    """Return every instant of the search of a document."""
    study = described_study(parse_object(document), StudyStatus())
    models = {"a100": "NVIDIA-A100-SXM4-40GB", "v100": "Tesla-V100-SXM2-32GB"}
    pools = tuple(
        replace(pool, fingerprint=pool.name, gpu_model=models.get(pool.name), device_count=8) for pool in study.pools
    )
    return driven(replace(study, pools=pools), half_on_v100)


def make_document(**spec: object) -> Body:
    """Return the study, valid and without a status; keywords replace parts of its spec."""
    document = make_study_document("codellama", "serving", **{**SPEC, **spec})
    document["metadata"] |= {"uid": "1", "generation": 1, "creationTimestamp": stamp(START)}
    return document


def with_status(document: Body, status: StudyStatus, *, written: datetime = NOW) -> Body:
    """Return the object with the status, as JSON."""
    fields = {"manager": "infpop", "operation": "Update", "subresource": "status", "time": stamp(written)}
    return {
        **document,
        "metadata": {**document["metadata"], "managedFields": [fields]},
        "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def at_instant(
    document: Body,
    snapshot: Snapshot,
    *,
    observations: Mapping[str, Observation] | None = None,
    **status_context: object,
) -> Body:
    """Return the object at one instant of its search; keywords give more of what the operator knows."""
    seen = snapshot.observations if observations is None else observations
    known = StatusContext(generation=1, observations=seen, pool_nodes=NODES)
    study = replace(snapshot.study, suspended=bool(status_context.get("suspended")))
    earlier = to_status(study, snapshot.decision, NOW - timedelta(seconds=75), context=known)
    status = to_status(study, snapshot.decision, NOW, previous=earlier, context=replace(known, **status_context))
    return with_status(document, status)


def ended(**spec: object) -> Body:
    """Return the object after the end of its search."""
    document = make_document(**spec)
    return at_instant(document, snapshots_of(document)[-1])


def refused(document: Body, *problems: Problem) -> Body:
    """Return the object of a study that the operator refuses."""
    return with_status(
        document, refused_status(problems, NOW - timedelta(minutes=1), context=StatusContext(generation=1))
    )


def without_nodes(document: Body, message: str) -> Body:
    """Return the object of a study whose pools have no nodes."""
    problems = {pool["name"]: PoolProblem(reason="NoMatchingNodes", message=message) for pool in POOLS}
    status = waiting_status(
        "NoMatchingNodes",
        f"pool a100: {message}",
        NOW - timedelta(minutes=1),
        context=StatusContext(generation=1, pool_problems=problems),
    )
    return with_status(document, status)


def page_of(body: Body, now: datetime = NOW) -> StatusPage:
    """Return what `infpop status` shows of an object."""
    study = parse_study_object(body)
    return to_page(study, on_cluster(study.namespace), now)


def stamp(instant: datetime) -> str:
    """Return a time in the API server's format."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
