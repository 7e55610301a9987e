"""The Events that statuses lead to."""

from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.events import StudyEvent, transitions_of_course, transitions_of_state


def transitions(before: StudyStatus | None, after: StudyStatus) -> tuple[StudyEvent, ...]:
    """Return all Events between two statuses; the operator records the two kinds at different moments."""
    return (*transitions_of_state(before, after), *transitions_of_course(before, after))
