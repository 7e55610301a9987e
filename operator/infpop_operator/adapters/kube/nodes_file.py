"""Nodes out of a file, for an operator that may not ask the API server for them: no Role can give that right.

The file is believed: labels are what pools are matched by and what Pods ask their node for. A wrong one is found out by
the scheduler (`Unschedulable`), not here.
"""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infpop_operator.adapters.kube.records import NodeRecord, parse_node
from infpop_operator.core.errors import SettingError
from infpop_operator.settings import NODES_FILE_VARIABLE


class _Node(BaseModel):
    """One node of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    labels: dict[str, str] = Field(default_factory=dict)
    capacity: dict[str, str | int]


_NODES = TypeAdapter(list[_Node])


class NodesFile:
    """A YAML list of nodes: `name`, `labels` and `capacity` of each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reads = 0

    def read(self) -> tuple[list[NodeRecord], str]:
        """Return the nodes and a version that grows with each reading, as the API server's does.

        Raises:
            SettingError: there is no such file, or it is no list of nodes; the message says where.
        """
        try:
            nodes = _NODES.validate_python(yaml.safe_load(self._path.read_text(encoding="utf-8")))
        except (OSError, UnicodeError, yaml.YAMLError) as error:
            raise SettingError(f"{NODES_FILE_VARIABLE}={self._path}: cannot be read: {error}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole file"
            remedy = "Give a list of nodes, each with name, labels and capacity."
            raise SettingError(f"{NODES_FILE_VARIABLE}={self._path}: {place}: {first['msg']}. {remedy}") from error
        self._reads += 1
        return [_to_record(node, str(self._reads)) for node in nodes], str(self._reads)


def _to_record(node: _Node, version: str) -> NodeRecord:
    amounts = {name: str(amount) for name, amount in node.capacity.items()}
    metadata = {"name": node.name, "uid": node.name, "resourceVersion": version, "labels": node.labels}
    return parse_node({"metadata": metadata, "status": {"capacity": amounts, "allocatable": amounts}})
