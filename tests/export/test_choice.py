"""Which trials are exported: of all pools and rounds, unless the user chooses."""

from dataclasses import replace

import pytest

from export.trials import FAILED
from infpop_operator.core.errors import ExportError
from infpop_operator.export.choice import choose_trials

ROWS = tuple(
    replace(FAILED, pool=pool, round=number) for pool, number in (("a100", 2), ("a100", 1), ("a100", 2), ("v100", 1))
)


@pytest.mark.parametrize(
    ("pool", "round_number", "expected"),
    [
        (None, None, [0, 1, 2, 3]),
        ("a100", None, [0, 1, 2]),
        (None, "1", [1, 3]),
        ("a100", "2", [0, 2]),
        (None, "last", [0, 2, 3]),
        ("v100", "last", [3]),
    ],
)
def test_trials_are_chosen_by_pool_and_round(pool: str | None, round_number: str | None, expected: list[int]) -> None:
    """The last round is that of each pool; the order stays."""
    chosen = choose_trials(ROWS, pool=pool, round_number=round_number)
    assert chosen == tuple(ROWS[at] for at in expected)


@pytest.mark.parametrize(
    ("pool", "round_number", "message"),
    [
        ("t4", None, "--pool: t4: has no trials. Use a100, v100."),
        ("v100", "2", "--round: 2: has no trials. Use 1, last."),
        (None, "first", "--round: first: has no trials. Use 2, 1, last."),
    ],
)
def test_what_there_is_not_is_refused(pool: str | None, round_number: str | None, message: str) -> None:
    """The message names what there is."""
    with pytest.raises(ExportError) as caught:
        choose_trials(ROWS, pool=pool, round_number=round_number)
    assert str(caught.value) == message
