"""Data written by the version before 2026-11-28: journals, statuses and local result directories, kept in `golden`.

Three studies of two pools on a cluster: `succeeded` has two rounds, `running` is at the start of its second round, and
`stalled` has used up its failure budget. Two simulated local studies: one is finished, one was interrupted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from factories.kube_objects import make_node
from factories.resolved import resolve_study
from infpop_operator.adapters.journal import Header, decode_line, fold
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.core.model import History
from infpop_operator.settings import Settings

GOLDEN = Path(__file__).parent / "golden"
CLUSTER_STUDIES = ("succeeded", "running", "stalled")
SETTINGS = Settings(runner_image="example.org/runner:1")
_A100 = {"nvidia.com/gpu.memory": "40960", "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "0"}
_V100 = {"nvidia.com/gpu.memory": "32768", "nvidia.com/gpu.compute.major": "7", "nvidia.com/gpu.compute.minor": "0"}
_DRIVER = "nvidia.com/cuda.driver.major"  # a label that the old version did not read
NODES = (
    make_node(labels={**_A100, _DRIVER: "570"}),
    make_node("n2", product="Tesla-V100-SXM2-32GB", gpus=4, labels={**_V100, _DRIVER: "570"}),
)
NODES_WITH_ANOTHER_DRIVER = tuple(replace(node, labels={**node.labels, _DRIVER: "580"}) for node in NODES)


def study_body(name: str) -> dict[str, Any]:
    """Return a study object with its status from that version."""
    body: dict[str, Any] = json.loads((GOLDEN / f"{name}-study.json").read_text())
    return body


def config_maps(name: str) -> list[dict[str, Any]]:
    """Return the ConfigMaps that hold the journal of a study."""
    found: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}-journal.json").read_text())
    return found


def journal_lines(name: str) -> list[str]:
    """Return the steps of a study's journal, in order."""
    return [line for config_map in config_maps(name) for _, line in sorted(config_map["data"].items())]


def history_of(name: str) -> History:
    """Return the history that the journal of a study adds up to."""
    header, *entries = map(decode_line, journal_lines(name))
    assert isinstance(header, Header)
    return fold(header, tuple(entry for entry in entries if not isinstance(entry, Header)))


def status_of(name: str) -> StudyStatus:
    """Return the old status, as this version reads it."""
    return StudyStatus.model_validate(study_body(name)["status"])


def resolved(name: str, history: History, nodes: Sequence[NodeRecord] = NODES) -> ResolvedStudy:
    """Return the study resolved on its old Nodes, or on others."""
    return resolve_study(study_body(name), nodes, history, SETTINGS, previous=status_of(name))


def holds(known: object, old: object) -> bool:
    """Return whether JSON contains everything in `old`; it may contain more."""
    match known, old:
        case Mapping(), Mapping():
            return all(key in known and holds(known[key], value) for key, value in old.items())
        case list(), list():
            return len(known) == len(old) and all(map(holds, known, old))
        case _:
            return known == old
