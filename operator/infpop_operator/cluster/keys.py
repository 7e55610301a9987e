"""The key that identifies a study inside the operator."""

from typing import NamedTuple


class StudyKey(NamedTuple):
    """Namespace and name of a study: the key of the work queue."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """Return `namespace/name`, as users write it."""
        return f"{self.namespace}/{self.name}"
