"""How a run ended is decided in the same way for a process and for a Pod."""

from datetime import timedelta

import pytest

from factories.runs import make_run
from factories.studies import START, make_measured
from infpop_operator.adapters.conclude import INTERRUPTED, Cause, cause_of_exit, conclude, last_output, parse_result
from infpop_operator.core.model import Finished, Lost
from infpop_runner.contract import Broken, Provenance, RunResult

RUN = make_run()
CRASH = Cause(lost="RunnerError", broken="RunnerError", detail="it crashed")


def result(**changes: object) -> RunResult:
    """Return a result that was started and holds no trials yet."""
    begun = RunResult(run=RUN.name, provenance=Provenance(engine="simulated"), started_at=START)
    return begun.model_copy(update=changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no result was written"),
        (" \n", "no result was written"),
        ("{", "result.json is not a result: Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ('{"run": 1}', "result.json is not a result: Input should be a valid string"),
        (result(run="study-7").model_dump_json(), "result.json belongs to the run 'study-7'"),
        (result().model_dump_json(), result()),
    ],
)
def test_only_a_result_of_this_run_is_one(text: str, expected: RunResult | str) -> None:
    """Everything else is refused with a message that says what was found."""
    assert parse_result(text, run=RUN.name, source="result.json") == expected


@pytest.mark.parametrize(
    ("left", "cause", "expected"),
    [
        ("nothing", CRASH, Lost(reason="RunnerError", detail="it crashed; nothing", ended_at=START)),
        (result(), CRASH, Lost(reason="RunnerError", detail="it crashed", ended_at=START)),
        (
            result(load_seconds=1.0),
            INTERRUPTED,
            Lost(reason="Interrupted", detail="infpop was stopped during the run", ended_at=START, counts=False),
        ),
        (result(ended_at=START), CRASH, Finished(result=result(ended_at=START), ended_at=START)),
    ],
)
def test_a_run_without_any_trial_is_lost(left: RunResult | str, cause: Cause, expected: Finished | Lost) -> None:
    """It is lost for the cause that ended it; a complete result without trials gives its own reason."""
    assert conclude(RUN, left, cause, START) == expected


def test_a_load_that_ended_the_runner_is_reported_for_the_trial() -> None:
    """After a load the trials are suspects: the result is kept, and marks them as broken."""
    end = conclude(RUN, result(load_seconds=1.0), CRASH, START)
    assert isinstance(end, Finished)
    assert end.result.broken is not None
    assert (end.result.broken.reason, end.result.broken.detail) == ("RunnerError", "it crashed")


LATER, LAST = START + timedelta(seconds=7), START + timedelta(seconds=9)
ONE, OTHER = (make_measured(5.0, index=index, batch_size=size) for index, size in ((0, 8), (1, 16)))
BROKEN = Broken(reason="EngineCrash", detail="its own")
ADDED = Broken(reason="RunnerError", detail="it crashed")


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (result(trials=(ONE,)), result(trials=(ONE,), broken=ADDED, ended_at=LAST)),
        (result(trials=(ONE, OTHER)), result(trials=(ONE, OTHER), broken=None, ended_at=LAST)),
        (result(trials=(ONE, OTHER), broken=BROKEN), result(trials=(ONE, OTHER), broken=None, ended_at=LAST)),
        (result(trials=(ONE,), broken=BROKEN, ended_at=LATER), result(trials=(ONE,), broken=BROKEN, ended_at=LATER)),
        (result(load_seconds=0.0), result(load_seconds=0.0, broken=ADDED, ended_at=LAST)),
    ],
)
def test_what_was_measured_is_kept_whatever_happened_afterwards(left: RunResult, expected: RunResult) -> None:
    """Missing trials are broken for the cause; a complete result is left unchanged."""
    assert conclude(RUN, left, CRASH, LAST) == Finished(result=expected, ended_at=LAST)


def test_an_interrupted_run_keeps_what_it_measured() -> None:
    """The remaining trials were stopped, and are tried again."""
    end = conclude(RUN, result(trials=(ONE,)), INTERRUPTED, LAST)
    stopped = Broken(reason="Stopped", detail="infpop was stopped during the run")
    assert end == Finished(result=result(trials=(ONE,), broken=stopped, ended_at=LAST), ended_at=LAST)


def test_a_long_cause_is_cut() -> None:
    """A detail has a maximum length."""
    lost = conclude(RUN, "x" * 2000, INTERRUPTED, LAST)
    text = ("infpop was stopped during the run; " + "x" * 2000)[:1000]
    assert lost == Lost(reason="Interrupted", detail=text, ended_at=LAST, counts=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("\n\n", ""),
        ("one\ntwo\n", "one | two"),
        ("\x1b[31mred\x1b[0m\x00\x07", "red"),
        ("\n".join("abcdefg"), "c | d | e | f | g"),
        ("x" * 5000 + "end", "x" * 797 + "end"),
        ("grün 日本", "grün 日本"),
    ],
)
def test_last_words_fit_a_line(text: str, words: str) -> None:
    """The last five lines, without terminal control sequences; of a long line, its end."""
    assert last_output(text) == words


def test_an_exit_is_reported_with_the_last_words() -> None:
    """The message includes the last lines of the log if there are any."""
    assert cause_of_exit("signal 11", "a\nb").detail == "the runner ended with signal 11; its last output: a | b"
    assert cause_of_exit("exit code 3", "").detail == "the runner ended with exit code 3"
