"""A status stays small and readable, whatever it holds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.status_samples import REALISTIC, decision_of, large_status, long_history, with_extra_metrics
from factories.studies import START, make_study
from infpop_operator.api.clip import clip, stored_bytes
from infpop_operator.api.status import to_status
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.api.status_size import fit, size_bytes


@pytest.mark.parametrize(("extra", "oldest"), [({}, 3), ({"kv_cache_dtype": "fp8_e5m2"}, 7)])
def test_500_rows_with_six_metrics_are_a_small_status(extra: dict[str, str], oldest: int) -> None:
    """The longest names fit; if space is short, metrics of ended rounds are dropped before rows."""
    names = [f"metric{number}".ljust(32, "x") for number in range(6)]
    known = dict.fromkeys(names, 42949672960.0)
    history = with_extra_metrics(long_history(detail=REALISTIC, **extra), known)
    study = make_study(space=replace(make_study().space, gpu_counts=(8,), batch_sizes=tuple(range(1, 701))))
    status = to_status(study, decision_of(history), START)
    assert size_bytes(status) < 256 * 1024
    assert len(status.trials) == 500
    assert {row.round for row in status.trials if row.metrics is not None} == set(range(oldest, 8))
    assert all(set(row.metrics) == set(names) for row in status.trials if row.metrics is not None)


@pytest.mark.parametrize("worst", [False, True])
def test_a_status_stays_small_whatever_it_holds(worst: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """With 700 trials and the oddest texts an object stays far below the limit of etcd; the newest rows are kept."""
    status = large_status(worst=worst)
    assert size_bytes(status) < 256 * 1024
    assert len(status.trials) == 500 if not worst else 50 < len(status.trials) < 500
    # The live runs are the newest trials: 64 of them with the worst texts, otherwise two.
    assert (status.trials[-1].round, status.trials[-1].index) == (7, 763 if worst else 701)
    assert status.best is not None
    assert len(status.best.engine_args) == (36 if worst else 4)
    text = status.model_dump_json(by_alias=True, exclude_none=True)
    assert StudyStatus.model_validate_json(text) == status


def test_what_failed_before_goes_with_the_messages() -> None:
    """Rows are worth more than the reasons of attempts that are being retried."""
    status = large_status(worst=False)
    rows = [row.model_copy(update={"last_failure": "x" * 256}) for row in status.trials]
    fitted = fit(status.model_copy(update={"trials": rows}))
    assert size_bytes(fitted) < 256 * 1024
    assert len(fitted.trials) == 500
    assert {row.last_failure for row in fitted.trials} == {None}


@given(st.text(), st.integers(min_value=3, max_value=50))
def test_a_clipped_text_is_printable_and_fits(text: str, limit: int) -> None:
    """No text from an engine or a node can break a status, whatever it contains."""
    clipped = clip(text, limit)
    assert clipped.isprintable()
    assert sum(stored_bytes(character) for character in clipped) <= limit
    plain = "".join(character if character.isprintable() else " " for character in text).strip()
    assert clipped == plain or plain.startswith(clipped.removesuffix("…"))
