"""What the final page says about a best that was measured again, or that should have been."""

from functools import cache
from typing import Any

from infpop_operator.report.rendering import render_page
from infpop_operator.report.words import interval_text
from report.played_studies import printed
from report.study_objects import SPEC, Body, ended, page_of


@cache
def confirmed() -> Body:
    """Return a study whose best is confirmed on both pools."""
    return ended(budget={**SPEC["budget"], "confirm": True})


def text_of(body: Body) -> str:
    """Return the page of a study as one line."""
    return " ".join(printed(render_page(page_of(body))).split())


def changed(pool: dict[str, Any], best: dict[str, Any] | None = None) -> Body:
    """Return the study with other fields in the row of the pool of its best, and in its best."""
    status = confirmed()["status"]
    rows = [row | pool if row["name"] == status["best"]["pool"] else row for row in status["pools"]]
    return {**confirmed(), "status": {**status, "pools": rows, "best": status["best"] if best is None else best}}


def test_a_confirmed_best_says_on_how_many_loads_and_how_sure_it_is() -> None:
    """The interval stands beside the number, and the improvement has one as well."""
    best, text = confirmed()["status"]["best"], text_of(confirmed())
    assert f"({interval_text(best['confirmed']['interval'])}), confirmed on 2 fresh loads" in text
    pool = next(row for row in confirmed()["status"]["pools"] if row["name"] == best["pool"])
    assert f"improved by {pool['improvementPercent']} % ({pool['improvementInterval']} %; throughput)" in text


def test_what_was_better_in_the_search_and_was_not_checked_stands_beside_the_confirmed_best() -> None:
    """Else the landscape shows a better number than the recommendation, and nothing says why."""
    row = {"state": "Confirmed", "loads": 2, "unchecked": "GPU count 1, batch size 16 was clearly better"}
    assert "Not checked GPU count 1, batch size 16 was clearly better" in text_of(changed({"confirmation": row}))
    assert "Not checked" not in text_of(confirmed())


def test_a_confirmed_best_is_marked_in_the_landscape() -> None:
    """Its number there is that of the search, which the fresh loads do not replace."""
    marked = [cell for pool in page_of(confirmed()).picture.pools if pool.landscape for cell in [pool.landscape.best]]
    rows = {row["name"]: row["best"] for row in confirmed()["status"]["pools"]}
    bests = [(best["gpuCount"], best["batchSize"]) for best in rows.values()]
    assert [(cell.gpu_count, cell.batch_size) for cell in marked if cell is not None] == bests


def test_an_improvement_that_may_be_noise_says_so() -> None:
    """An interval with 0 in it is no improvement that counts."""
    text = text_of(changed({"improvementPercent": "1.0", "improvementInterval": "-2.0 to 4.0"}))
    assert "improved by 1.0 % (-2.0 to 4.0 %: that may be noise; throughput)" in text


def test_a_best_that_is_not_confirmed_says_why() -> None:
    """The number is that of the search, so the page gives the reason right below it."""
    best = {key: value for key, value in confirmed()["status"]["best"].items() if key != "confirmed"}
    why = "NoRoom: no node has 8 usable GPUs now"
    message = f"the best is not confirmed: {why}"
    text = text_of(changed({"confirmation": {"state": "NotConfirmed", "loads": 0, "message": message}}, best))
    assert f"Not confirmed {why}" in text
    assert "), confirmed on" not in text
