"""How people count what data count from 0."""


def trial_number(index: int) -> int:
    """Return the number of a trial in pages, Events and messages: its first trial is trial 1, with index 0 in data."""
    return index + 1


def trial_name(index: int) -> str:
    """Return a trial as people read it, such as "trial 3"."""
    return f"trial {trial_number(index)}"
