"""The differences between a study on a cluster and one on this machine; the same page shows both."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infpop_operator.core.machine_load import MachineLoad


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a study is tuned.

    Args:
        log_of: takes a run's name and returns where its log is: a command or a path.
        directory: holds the study's files; None on a cluster, where API objects hold everything.
        load: what took so much of this machine's CPUs while it measured that numbers scatter; None if nothing did.
    """

    log_of: Callable[[str], str]
    directory: Path | None = None
    load: MachineLoad | None = None

    @property
    def is_cluster(self) -> bool:
        """Whether the study is an object in a cluster, with conditions, Nodes and a ConfigMap to publish to."""
        return self.directory is None


def on_cluster(namespace: str) -> Place:
    """Return the place of a study in this namespace."""
    return Place(log_of=lambda run: f"kubectl logs --namespace {namespace} job/{run}")


def on_this_machine(directory: Path) -> Place:
    """Return the place of a study whose files are in `directory`."""
    return Place(log_of=lambda run: str(directory / "runs" / run / "log.txt"), directory=directory)
