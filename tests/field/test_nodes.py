"""Nodes from the field: what a pool makes of them is what a person who knows these clusters wants."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infpop_operator.adapters.kube.node_pools import MatchedPool, PoolQuery, UnmatchedPool, match_pool
from infpop_operator.adapters.kube.record_parsing import parse_node
from infpop_operator.adapters.kube.records import NodeRecord
from reconcile.played_nodes import NODE
from reconcile.stage import ONE_CELL, Stage


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The reason and parts of the message of a pool without Nodes."""

    reason: str
    parts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Match:
    """What a pool counts: devices of one run, devices of all Nodes, Nodes."""

    counts: tuple[int, int, int]


# By the recording's id: its wish in this project's terms.
WANTED: dict[str, Refusal | Match] = {
    "N01": Refusal(reason="SharedGPUs", parts=("50 devices on a node with gpu.count=1",)),
    "N02": Refusal(reason="SharedGPUs", parts=("Tesla-T4-SHARED",)),
    "N03": Refusal(reason="SharedGPUs", parts=("nvidia.com/gpu.shared", "whole GPUs")),
    "N04": Match(counts=(8, 14, 2)),
    "N05": Refusal(reason="NoMatchingNodes", parts=("MIG-INVALID", "not partitioned alike")),
    "N06": Refusal(reason="SharedGPUs", parts=("MIG-1g.5gb",)),
    "N06b": Match(counts=(1, 14, 1)),
    "N07": Refusal(reason="NoMatchingNodes", parts=("device plugin is not there yet", "t4")),
    "N09": Refusal(reason="NoMatchingNodes", parts=("karpenter.k8s.gcp/instance-gpu-name=nvidia-l4", "nodeSelector")),
    "N10": Refusal(reason="NoMatchingNodes", parts=("instance-type=Standard_NC24ads_A100_v4", "nodeSelector")),
    "N11": Refusal(reason="NoMatchingNodes", parts=("dead (not ready: NodeStatusUnknown)",)),
    "N12": Match(counts=(3, 3, 1)),
    "N13": Refusal(reason="UnsupportedGPUs", parts=("amd.com/gpu", "does not support")),
    "N14": Refusal(reason="SharedGPUs", parts=("Tesla-T4-SHARED",)),
    "N15": Refusal(reason="SharedGPUs", parts=("gke-gpu-sharing-strategy=time-sharing",)),
    "N16": Match(counts=(8, 16, 2)),
    "N18": Match(counts=(7, 7, 1)),
}
AUTOSCALED = "N08"


def test_pools_of_recorded_nodes_are_as_wanted(field: Path) -> None:
    """Shared, broken, dead and foreign devices are told apart from whole GPUs, and each refusal says why."""
    cases = {case["id"]: case for case in json.loads((field / "nodes.json").read_text())}
    assert cases.keys() == WANTED.keys() | {AUTOSCALED}
    for case, wanted in WANTED.items():
        pool = match_pool(_query(cases[case]["pool"]), [_node(node) for node in cases[case]["nodes"]])
        if isinstance(wanted, Match):
            assert isinstance(pool, MatchedPool), (case, pool)
            assert (pool.device_count, pool.total_device_count, pool.nodes) == wanted.counts, case
        else:
            assert isinstance(pool, UnmatchedPool), (case, pool)
            assert pool.reason == wanted.reason, case
            assert all(part in pool.message for part in wanted.parts), (case, pool.message)


def test_a_pool_that_an_autoscaler_fills_gets_a_run(field: Path) -> None:
    """The autoscaler adds a node only when it sees a Pod that needs one."""
    (case,) = (case for case in json.loads((field / "nodes.json").read_text()) if case["id"] == AUTOSCALED)

    async def play() -> Stage:
        stage = Stage(searchSpace=ONE_CELL, nodePools=[{"name": "gpu", **case["pool"]}])
        stage.cluster.remove("nodes", NODE)
        for node in case["nodes"]:
            stage.cluster.create("nodes", _body(node))
        await (await stage.operator()).settle()
        return stage

    stage = asyncio.run(play())
    pod = stage.cluster.get("jobs", stage.run)["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == case["pool"]["nodeSelector"]


def _query(pool: dict[str, Any]) -> PoolQuery:
    return PoolQuery(
        name="gpu",
        device="cuda",
        gpu_product=pool.get("gpuProduct"),
        node_selector=pool.get("nodeSelector", {}),
    )


def _node(node: dict[str, Any]) -> NodeRecord:
    return parse_node(_body(node))


def _body(node: dict[str, Any]) -> dict[str, Any]:
    status = {key: node[key] for key in ("capacity", "allocatable", "conditions")}
    metadata = {"name": node["name"], "uid": node["name"], "labels": node["labels"]}
    return {"metadata": metadata, "spec": node["spec"], "status": status}
