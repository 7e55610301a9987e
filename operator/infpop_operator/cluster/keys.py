"""How a study is named inside the operator."""

from typing import NamedTuple


class StudyKey(NamedTuple):
    """Namespace and name of a study: the key of the work queue."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.namespace}/{self.name}"
