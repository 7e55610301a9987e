"""What differs between a study on a cluster and one on this machine; one page shows both."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a study is tuned.

    Args:
        log_of: returns where the log of a run is, given the run's name: a command or a path.
        directory: what holds the study's files; None on a cluster, where objects hold everything.
    """

    log_of: Callable[[str], str]
    directory: Path | None = None

    @property
    def is_cluster(self) -> bool:
        """Whether the study is an object of a cluster, with conditions, nodes and a ConfigMap to publish to."""
        return self.directory is None


def on_cluster(namespace: str) -> Place:
    """Return the place of a study in this namespace."""
    return Place(log_of=lambda run: f"kubectl logs --namespace {namespace} job/{run}")


def on_this_machine(directory: Path) -> Place:
    """Return the place of a study whose files are in `directory`."""
    return Place(log_of=lambda run: str(directory / "runs" / run / "log.txt"), directory=directory)
