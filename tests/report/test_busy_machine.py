"""What a user reads of a machine that is too busy to measure on."""

from dataclasses import replace

import pytest

from infpop_operator.api.status import to_status
from infpop_operator.api.study_object import StudyObject
from infpop_operator.core.machine_load import MachineLoad
from infpop_operator.report.busy_machine import explanation, warning
from infpop_operator.report.place import on_this_machine
from infpop_operator.report.status_view import to_page
from report.local_pages import DIRECTORY, document_of
from report.test_local_page import instant

OTHERS = MachineLoad(cpus=2, usable=2, others=1.93, stolen=0.0, waiting_ratio=0.81)
HOST = MachineLoad(cpus=64, usable=2, others=0.3, stolen=62.5)


@pytest.mark.parametrize(
    ("load", "text"),
    [
        (
            OTHERS,
            (
                "This machine is busy: other processes used 1.9 of 2 CPUs and a process waited for a CPU 81 % of the "
                "time. Numbers will scatter. Stop these processes, or press Ctrl-C and run the same command later."
            ),
        ),
        (
            HOST,
            (
                "This machine is busy: other processes used 0.3 of 64 CPUs (runs may use 2) and its hypervisor gave "
                "the time of 62.5 CPUs to other machines. Numbers will scatter. Use a machine of your own, or press "
                "Ctrl-C and run the same command later."
            ),
        ),
    ],
)
def test_a_warning_says_who_takes_what_and_what_to_do(load: MachineLoad, text: str) -> None:
    """The figures name their actor; what is not known or too small is left out."""
    assert warning(load) == text


def facts(load: MachineLoad | None, spread: str) -> dict[str, str]:
    """Return the facts of the conclusion about a best with this spread."""
    end = instant("tied")
    status = to_status(end.study, end.decision, end.now)
    assert status.best is not None
    status = status.model_copy(update={"best": status.best.model_copy(update={"spread": spread})})
    study = StudyObject(name="study", engine="vllm", model="model", document=document_of(end.study), status=status)
    conclusion = to_page(study, replace(on_this_machine(DIRECTORY), load=load), end.now).conclusion
    assert conclusion is not None
    return dict(conclusion.facts)


def test_a_best_with_a_large_spread_says_that_the_machine_was_busy() -> None:
    """Without a load, or with repeats that agree, there is nothing to explain."""
    assert facts(OTHERS, "0.35")["Busy machine"] == explanation(OTHERS)
    assert "Busy machine" not in facts(OTHERS, "0.03")
    assert "Busy machine" not in facts(None, "0.35")


def test_an_explanation_leaves_out_who_waited_for_a_cpu() -> None:
    """While the study runs, its own processes wait as well."""
    why = "other processes used 1.9 of 2 CPUs; that may be the cause of the spread"
    assert explanation(OTHERS) == f"{why}. Measure again when they have ended, with another --output"
