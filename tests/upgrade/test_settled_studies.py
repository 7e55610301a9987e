"""A finished study of an earlier version is recorded once more after the upgrade, and then makes no requests."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from adapters.kube.api_server import ApiServer, api_server
from factories.studies import START
from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.events import Recorder
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.metrics.operator_metrics import OperatorMetrics
from infpop_operator.cluster.metrics_gatherer import MetricsGatherer
from infpop_operator.cluster.reconciler import Reconciler
from infpop_operator.cluster.run_probes import RunProbes
from infpop_operator.cluster.study_memory import StudyMemories
from upgrade.old_data import NODES, SETTINGS, config_maps, study_body


class StatusClient(KubeClient):
    """A client that keeps statuses only in the cache: the tests' API server knows only ConfigMaps."""

    def __init__(self, server: ApiServer) -> None:
        super().__init__(server.connection())
        self._server = server
        self._version = 1

    async def replace_study_status(self, study: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
        """Return the study with this status, and count the request."""
        self._server.requests.append("PUT")
        self._version += 1
        return {**study, "status": status, "metadata": {**study["metadata"], "resourceVersion": str(self._version)}}


def make_reconciler(client: KubeClient, cache: Cache) -> Reconciler:
    """Return a reconciler that runs hours after the last activity of the old studies."""
    memories = StudyMemories()
    probes = RunProbes(None, None, cache, memories)  # type: ignore[arg-type]
    return Reconciler(
        client=client,
        cache=cache,
        memories=memories,
        probes=probes,
        gatherer=MetricsGatherer(pods=probes, prometheus=None, order=("PodMetrics",), done=lambda _: None),
        metrics=OperatorMetrics(time.monotonic),
        recorder=Recorder(client, lambda: START),
        settings=SETTINGS,
        clock=lambda: START + timedelta(hours=3),
    )


async def requests_of_passes(name: str, nodes: Sequence[Sequence[NodeRecord]]) -> list[list[str]]:
    """Return the request methods of each pass over an old study, given the Nodes at that pass."""
    async with api_server() as server, StatusClient(server) as client:
        for config_map in config_maps(name):
            server.config_maps[config_map["metadata"]["name"]] = config_map
        body, cache, requests = study_body(name), Cache(), []
        cache.replace_studies([body], "1")
        reconciler = make_reconciler(client, cache)
        for number, there in enumerate(nodes):
            server.requests.clear()
            if number == 0 or there is not nodes[number - 1]:
                cache.replace_nodes(list(there), str(number + 1))
            await reconciler.reconcile(StudyKey(body["metadata"]["namespace"], body["metadata"]["name"]))
            requests.append([*server.requests])
        return requests


@pytest.mark.parametrize("name", ["succeeded", "stalled"])
def test_a_settled_study_makes_no_request_while_nothing_changes(name: str) -> None:
    """The first pass adds hardware and new status fields; the journal is read again when Nodes disappear."""
    passes = asyncio.run(requests_of_passes(name, (NODES, NODES, NODES, (), (), ())))
    assert passes[:3] == [["GET", "PATCH", "PUT"], [], []]
    assert passes[3][0] == "GET"
    assert "PATCH" not in passes[3]
    assert passes[4:] == [[], []]
