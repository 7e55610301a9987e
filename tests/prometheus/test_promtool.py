"""promtool, as the tests run it, does report problems."""

import pytest

from prometheus.promtool import complaints_about

pytestmark = pytest.mark.prometheus


def test_a_counter_without_total_is_complained_about() -> None:
    """The linter's message is returned; a correct text gives none."""
    good = "# HELP runs_total Runs so far.\n# TYPE runs_total counter\nruns_total 1\n"
    assert complaints_about(good) == []
    (complaint,) = complaints_about(good.replace("runs_total", "runs"))
    assert "_total" in complaint
