"""The pages of `infpop tune` for a study that was driven on a simulated landscape."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infpop_operator.api.quantities import decimal_string
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.core.study import Configuration, Pool, Study
from infpop_operator.local.prepare import Prepared
from infpop_operator.local.snapshot import Snapshot
from infpop_operator.local.status_keeper import StatusKeeper
from infpop_operator.report.status_page import StatusPage
from infpop_runner.contract import RunResult

DIRECTORY = Path("out")
NOTHING: Mapping[str, RunResult] = {}


def document_of(study: Study) -> ThroughputStudy:
    """Return a document for `study`, as far as a page shows it."""
    objective, algorithm, budget = study.objective, study.algorithm, study.budget
    bounds = [{"metric": each.metric, "max": each.maximum, "min": each.minimum} for each in objective.constraints]
    space = {
        "gpuCount": list(study.space.gpu_counts),
        "batchSize": list(study.space.batch_sizes),
        "extra": [{"name": each.name, "values": list(each.values)} for each in study.space.extra],
    }
    spec: dict[str, Any] = {
        "model": {"name": study.model.name},
        "engine": {"name": study.engine.name},
        "searchSpace": space,
        "objective": {"metric": objective.metric, "constraints": [_decimals(bound) for bound in bounds]},
        "algorithm": {"name": algorithm.name, "trialsPerRun": algorithm.trials_per_run},
        "budget": {"maxTrials": budget.max_trials},
        "nodePools": [_node_pool(pool) for pool in study.pools],
    }
    if study.engine.name == "simulated":
        spec["engine"]["simulation"] = {"formula": {}}
    if study.baseline is not None:
        spec["baseline"] = _baseline(study.baseline)
    document = {"apiVersion": "infpop.io/v1alpha1", "kind": "ThroughputStudy", "metadata": {"name": study.name}}
    return ThroughputStudy.model_validate(document | {"spec": spec})


def keeper_of(study: Study) -> StatusKeeper:
    """Return a keeper that builds the pages of `study` and saves nothing."""
    prepared = Prepared(study=study, document=document_of(study), text="", gpus=(), needs_tiny_model=False)
    return StatusKeeper(prepared, DIRECTORY, previous=None, save=lambda _status: None)


def page_of(snapshot: Snapshot, partial: Mapping[str, RunResult] = NOTHING) -> StatusPage:
    """Return the page of one instant; `partial` is what live runs have found so far."""
    keeper = keeper_of(snapshot.study)
    keeper.save(snapshot)
    return keeper.page(snapshot, partial)


def pages_of(snapshots: Sequence[Snapshot]) -> list[StatusPage]:
    """Return the page of each instant, built in order as one process builds them."""
    keeper, pages = keeper_of(snapshots[0].study), []
    for snapshot in snapshots:
        keeper.save(snapshot)
        pages.append(keeper.page(snapshot, NOTHING))
    return pages


def _node_pool(pool: Pool) -> dict[str, Any]:
    node: dict[str, Any] = {"name": pool.name}
    if pool.device == "cpu":
        node["gpuResource"] = "cpu"
    if pool.price_per_gpu_hour is not None:
        node["pricePerGPUHour"] = decimal_string(pool.price_per_gpu_hour)
    return node


def _baseline(cell: Configuration) -> dict[str, Any]:
    return {"gpuCount": cell.gpu_count, "batchSize": cell.batch_size}


def _decimals(bound: Mapping[str, object]) -> dict[str, object]:
    return {
        key: f"{value:g}" if isinstance(value, float) else value for key, value in bound.items() if value is not None
    }
