"""Nodes that are read from a file."""

from pathlib import Path

import pytest

from infpop_operator.adapters.kube.nodes_file import NodesFile
from infpop_operator.core.errors import SettingError

GOOD = """
- name: gpu-1
  labels: {kubernetes.io/arch: amd64, nvidia.com/gpu.product: NVIDIA-A100-SXM4-40GB}
  capacity: {cpu: "96", nvidia.com/gpu: 8}
- name: cpu-1
  capacity: {cpu: 3500m}
"""


def test_nodes_are_what_the_file_says(tmp_path: Path) -> None:
    """Labels, devices and cores of each Node are as from the API server, and no Node is cordoned."""
    (gpu, cpu), _ = NodesFile(written(tmp_path, GOOD)).read()
    assert (gpu.name, gpu.capacity_gpus, gpu.cpus, gpu.arch) == ("gpu-1", {"nvidia.com/gpu": 8}, 96, "amd64")
    assert gpu.labels["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-40GB"
    assert (cpu.labels, cpu.capacity_gpus, cpu.cpus) == ({}, {}, 3)
    assert gpu.schedulable
    assert cpu.schedulable


def test_each_reading_is_newer_than_the_last(tmp_path: Path) -> None:
    """A change of the file takes effect at the next listing."""
    file = NodesFile(written(tmp_path, GOOD))
    _, first = file.read()
    written(tmp_path, "- {name: gpu-2, capacity: {nvidia.com/gpu: 4}}")
    (node,), second = file.read()
    assert node.name == "gpu-2"
    assert int(second) > int(first)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("- {name: gpu-1, capacty: {}}", "0.capac"),
        ("- {name: '', capacity: {}}", "0.name"),
        ("- {name: a, capacity: {}, labels: {a: 1}}", "0.labels.a"),
        ("nodes: []", "the whole file"),
        ("", "the whole file"),
        ("[", "cannot be read"),
    ],
    ids=["unknown", "nameless", "label", "mapping", "empty", "no YAML"],
)
def test_what_is_not_a_list_of_nodes_is_reported(tmp_path: Path, text: str, place: str) -> None:
    """The message names the variable, the file and the position in it."""
    path = written(tmp_path, text)
    with pytest.raises(SettingError) as caught:
        NodesFile(path).read()
    assert str(caught.value).startswith(f"INFPOP_NODES_FILE={path}: {place}")


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    """A missing mount is not read as a cluster without Nodes."""
    with pytest.raises(SettingError, match="cannot be read"):
        NodesFile(tmp_path / "nodes.yaml").read()


def written(folder: Path, text: str) -> Path:
    """Return the file with this text."""
    path = folder / "nodes.yaml"
    path.write_text(text)
    return path
