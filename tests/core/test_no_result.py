"""Why a study has no best configuration: one cause has one reason."""

from core.planning import make_small_study
from factories.runs import make_ended, make_finish, make_history, make_run
from factories.studies import make_cell
from infpop_operator.core.decision import SetAside
from infpop_operator.core.load_failures import LOAD_FAILS
from infpop_operator.core.model import EndedRun
from infpop_operator.core.no_result import why_no_best

STUDY = make_small_study()
ASIDE = SetAside(gpu_count=2, extra=(), reason=LOAD_FAILS, detail="EngineCrash: EngineCrash of died-2", attempts=3)


def died(gpus: int, index: int, *, reason: str = "EngineCrash") -> EndedRun:
    """Return a run whose engine did not load."""
    run = make_run(f"died-{gpus}", cells=[make_cell(gpus, 8)], index=index)
    return make_ended(run, make_finish(run, [None], broken=reason, load_seconds=None))


def test_a_load_that_was_set_aside_has_the_reason_of_its_runs() -> None:
    """The engine crashed at each GPU count: that is one cause, although one of them was set aside."""
    history = make_history(ended=(died(2, 0), died(1, 1)))
    reason, message = why_no_best(STUDY, history, {"a100": (ASIDE,)})
    assert (reason, message.count("EngineCrash: ")) == ("EngineCrash", 1)


def test_two_causes_have_a_sentence_each() -> None:
    """Neither is named twice."""
    history = make_history(ended=(died(2, 0), died(1, 1, reason="LoadTimeout")))
    reason, message = why_no_best(STUDY, history, {"a100": (ASIDE,)})
    assert reason == "NothingEligible"
    assert message == (
        "nothing could be measured: EngineCrash: EngineCrash of died-2; LoadTimeout: LoadTimeout of died-1"
    )


def test_a_load_that_was_set_aside_by_runs_that_are_out_of_scope_keeps_that_reason() -> None:
    """No trial that counts says more."""
    reason, message = why_no_best(STUDY, make_history(), {"a100": (ASIDE,)})
    assert (reason, message) == (LOAD_FAILS, f"nothing could be measured: LoadFails: {ASIDE.detail}")
