"""What to choose from: throughput against the speed of each sequence and the GPUs that it takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.made_rows import make_grid, make_row
from infpop_operator.analysis.tradeoffs import TIE_RATIO, pareto_front, tradeoffs
from infpop_operator.core.landscape import CellState


def test_alternatives_say_what_they_cost() -> None:
    """Batch size 4 generates the most; batch size 1 a quarter less, with each sequence three times as fast."""
    found = tradeoffs(make_grid({(2, 4): 400.0, (2, 2): 380.0, (1, 1): 300.0, (2, 1): 301.0}))
    assert [(each.row.gpu_count, each.row.batch_size) for each in found.alternatives] == [
        (2, 4),
        (2, 2),
        (2, 1),
        (1, 1),
    ]
    last = found.alternatives[-1]
    assert (last.throughput_loss_percent, last.speed_gain_percent, last.gpus_saved) == (25.0, 200.0, 1)
    # 2 GPUs with batch size 1 do what one GPU does, within 1 %.
    assert [each.on_front for each in found.alternatives] == [True, True, False, True]


def test_speed_is_that_of_sequences_where_it_was_measured() -> None:
    """Tokens/s divided by the batch size is used only where a trial has no measured time per token."""
    rows = [make_row(100.0, batch_size=8, seconds_per_output_token=0.02)]
    assert tradeoffs(rows).alternatives[0].speed == 50.0
    assert not tradeoffs([*rows, make_row(10.0)]).speed_is_measured


def test_the_constraint_that_binds_is_named_with_what_it_costs() -> None:
    """The fastest configuration that breaks it, and memory at the next batch size."""
    rows = [
        make_row(100.0, batch_size=4),
        make_row(150.0, gpu_count=2, batch_size=8, reason="ConstraintBroken", detail="secondsPerOutputToken is 0.2"),
        make_row(None, batch_size=8),
    ]
    assert tradeoffs(rows).binding == (
        "A constraint binds: batch size 8 on 2 GPUs makes 150 tokens/s, 50.0 % more, but secondsPerOutputToken is 0.2.",
        "Memory binds: batch size 8 does not fit on 1 GPU.",
    )


def test_raced_out_rows_are_nothing_to_choose() -> None:
    """A bound is no number."""
    assert tradeoffs([make_row(50.0, state=CellState.RACED_OUT)]).alternatives == ()


def test_two_landscapes_have_no_common_front() -> None:
    """Rows of two models are refused."""
    with pytest.raises(ValueError, match="no common front"):
        tradeoffs([make_row(1.0), make_row(1.0, model="Other")])


points = st.lists(
    st.tuples(st.floats(1.0, 1e4), st.floats(0.1, 1e3), st.sampled_from([1, 2, 4, 8])), min_size=1, max_size=40
)


@given(points)
def test_every_configuration_is_matched_by_one_on_the_front(found: list[tuple[float, float, int]]) -> None:
    """In throughput, speed and GPUs, up to two ties; and the front is never empty."""
    front = [found[index] for index in pareto_front(found)]
    slack = (1 - TIE_RATIO) ** 4
    for rate, speed, gpus in found:
        assert any(own[0] >= rate * slack and own[1] >= speed * slack and own[2] <= gpus for own in front)
