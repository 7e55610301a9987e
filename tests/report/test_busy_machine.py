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


def facts(load: MachineLoad | None, *, spread: str = "0.03", reason: str | None = None, best: bool = True) -> list[str]:
    """Return what the conclusion says of the machine, for a best with this spread and a trial with this reason."""
    end = instant("tied")
    status = to_status(end.study, end.decision, end.now)
    assert status.best is not None
    found = status.best.model_copy(update={"spread": spread}) if best else None
    trials = [status.trials[0].model_copy(update={"reason": reason}), *status.trials[1:]]
    status = status.model_copy(update={"best": found, "trials": trials})
    study = StudyObject(name="study", engine="vllm", model="model", document=document_of(end.study), status=status)
    conclusion = to_page(study, replace(on_this_machine(DIRECTORY), load=load), end.now).conclusion
    assert conclusion is not None
    return [text for name, text in conclusion.facts if name == "Busy machine"]


def test_repeats_that_differ_are_explained_by_a_busy_machine() -> None:
    """Those of the best, and those of a trial that has no number because of it, even if the study found no best."""
    assert facts(OTHERS, spread="0.35") == [explanation(OTHERS)]
    assert facts(OTHERS, reason="UnstableRepeats") == [explanation(OTHERS)]
    assert facts(OTHERS, reason="UnstableRepeats", best=False) == [explanation(OTHERS)]


def test_without_a_load_or_with_equal_repeats_nothing_is_explained() -> None:
    """A quiet machine did not cause a spread, and a busy one did no harm to repeats that agree."""
    assert facts(None, spread="0.35", reason="UnstableRepeats") == []
    assert facts(OTHERS) == []


def test_an_explanation_leaves_out_who_waited_for_a_cpu() -> None:
    """While the study runs, its own processes wait as well."""
    why = "other processes used 1.9 of 2 CPUs, which may be why repeats differ"
    assert explanation(OTHERS) == f"{why}. Measure again when they have ended, with another --output"
