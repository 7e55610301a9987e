"""Read Nodes from a file, for an operator that may not list them: no Role can grant that right.

The file is trusted: pools are matched by its labels, and Pods select their Node by them. A wrong label shows up at the
scheduler (`Unschedulable`), not here.
"""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infpop_operator.adapters.kube.record_parsing import parse_node
from infpop_operator.adapters.kube.records import NodeRecord
from infpop_operator.core.errors import SettingError
from infpop_operator.settings import NODES_FILE_VARIABLE


class _Node(BaseModel):
    """One Node in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    labels: dict[str, str] = Field(default_factory=dict)
    capacity: dict[str, str | int]


_NODES = TypeAdapter(list[_Node])


class NodesFile:
    """A YAML list of Nodes, each with `name`, `labels` and `capacity`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reads = 0

    def read(self) -> tuple[list[NodeRecord], str]:
        """Return the Nodes and a version that increases with each read, like the API server's resource version.

        Raises:
            SettingError: the file cannot be read, or is not a list of Nodes; the message says where.
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
