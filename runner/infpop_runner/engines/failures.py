"""Classify an engine's exception and log: the configuration cannot work here, or something broke.

The exception's chain decides if a row of the table knows it. Only if the exception is a mere wrapper for a cause
in another process does the log decide: there the process counts that failed first (a worker before its engine core),
and in it the last exception that a row knows. A text that matches no row is broken, never infeasible.
"""

import linecache
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infpop_runner.contract import BrokenReason, InfeasibleReason, Retry, one_line
from infpop_runner.engines.device_failures import DEVICE_FAILURES
from infpop_runner.engines.errors import EngineBrokenError, EngineRefusedError
from infpop_runner.engines.failure_rule import Device, Phase, Rule
from infpop_runner.engines.failure_text import CORE, Process, Statement, last_line, read_exception, read_log
from infpop_runner.engines.model_failures import ARGUMENTS, CRASHES, HUB, KILLED, MODEL_FAILURES, STORAGE

__all__ = [
    "MAX_DETAIL",
    "Device",
    "Evidence",
    "Failed",
    "Phase",
    "Refused",
    "classify",
    "classify_exception",
    "describe_exception",
]
MAX_DETAIL = 600  # characters: a sentence with its numbers; a result has room for eight of them
KNOWN = (*DEVICE_FAILURES, *MODEL_FAILURES)
RULES = (*KNOWN, *ARGUMENTS, *KILLED, *CRASHES)
_LAST_LINE = 200
_WHOLE_LOG = "The run's log has the whole text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The configuration cannot work here. `largest_only`: a smaller batch may work in another load."""

    reason: InfeasibleReason
    detail: str
    largest_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Something broke that says nothing about the configuration. `retry` says whether waiting helps, if known."""

    reason: BrokenReason
    detail: str
    retry: Retry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The known facts of a failure: the exception's chain as "Type: message" lines, and the end of the log.

    `log_tail` holds only output since the start of the failed phase. `device` and `phase` say where it happened.
    """

    exception: str
    log_tail: str
    device: Device
    phase: Phase


# The exception only says that another process failed: the cause is in the log.
WRAPPERS = re.compile(
    r"Engine core (?:initialization failed|process)|Engine process failed to start|EngineDeadError"
    r"|EngineCore (?:encountered an issue|failed to start)|Failed core proc|Frontend process failed|WorkerProc"
    r"|Worker (?:failed|proc)|Executor failed|Call to \w+ method failed|See (?:stack trace|root cause)"
    r"|Got fatal signal from worker|died (?:with exit code|unexpectedly)"
)
STARTS = re.compile(r"Engine core initialization failed|(?:Engine process|EngineCore) failed to start")
# What a process says because another one is gone.
AFTERMATH = re.compile(
    r"Connection (?:reset by peer|closed by)|Broken ?[Pp]ipe|Socket Timeout|remote process exited|ncclRemoteError"
    r"|Watchdog caught collective operation timeout|communicator was aborted|TCPStore|KeyboardInterrupt|SystemExit"
    r"|EOFError|\bcancelled\b"
)


def describe_exception(error: BaseException) -> str:
    """Return the exception and its causes, outermost first, one "module.Type: message" each.

    An assertion without a message is described by the line that it stands in.
    """
    return "\n".join(
        f"{type(link).__module__}.{type(link).__qualname__}: {str(link) or _source_of(link)}" for link in _chain(error)
    )


def classify_exception(error: BaseException, *, log_tail: str, device: Device, phase: Phase) -> Refused | Failed:
    """Return what `error` means for the trial that raised it."""
    if isinstance(error, EngineRefusedError):
        largest_only = error.largest_only or error.reason == "GpuOutOfMemory"
        return Refused(reason=error.reason, detail=one_line(str(error))[:MAX_DETAIL], largest_only=largest_only)
    if isinstance(error, EngineBrokenError):
        detail = one_line(str(error))[:MAX_DETAIL]
        return Failed(reason=error.reason, detail=detail, retry=_waiting_helps(error, device))
    return classify(Evidence(exception=describe_exception(error), log_tail=log_tail, device=device, phase=phase))


def _waiting_helps(error: BaseException, device: Device) -> Retry | None:
    """Return whether a hub or a volume is the cause that needs time, or a person: prompts come from there too."""
    causes = read_exception(describe_exception(error))[1:]
    rules = [rule for rule in (*STORAGE, *HUB) if rule.applies("load", device)]
    found = _first(rules, causes)
    return None if found is None else found[0].retry


def classify(evidence: Evidence) -> Refused | Failed:
    """Return what the evidence means: `EngineCrash` or `RunnerError` if no row of the table knows it."""
    chain = read_exception(evidence.exception)
    wrapped = any(_says(statement, WRAPPERS) or _says_nothing(statement) for statement in chain)
    if found := _first(_applicable(KNOWN, evidence), [each for each in chain if not _says(each, STARTS)]):
        return _verdict(*found)
    if not wrapped:
        found = _first(_applicable((*ARGUMENTS, *CRASHES), evidence), chain)
        return _verdict(*found) if found else _unknown("RunnerError", chain[:1])
    in_start = any(_says(statement, STARTS) for statement in chain)
    if not in_start and (found := _first(_applicable(ARGUMENTS, evidence), chain)):
        return _verdict(*found)
    return _classify_log(evidence, chain)


def _classify_log(evidence: Evidence, chain: Sequence[Statement]) -> Refused | Failed:
    processes = [_heard(process) for process in read_log(evidence.log_tail)]
    processes.sort(key=lambda process: not _is_cause(process))
    if not processes:
        found = _first(KILLED, chain)
        return _verdict(*found) if found else _unknown("EngineCrash", chain[:1], ending=last_line(evidence.log_tail))
    first, known = processes[0], _applicable(KNOWN, evidence)
    started = not any(_says(each, STARTS) for each in chain)
    rejections = () if started else _applicable(ARGUMENTS, evidence)
    said = first.exceptions or first.remarks
    # Without a process's name: what a library printed, or a prompt. It counts only if no named process has a cause.
    others = [other for other in processes[1:] if other.rank <= max(first.rank, CORE)]
    heard = [(known, said), (known, first.fatal), *((known, other.exceptions) for other in others)]
    for rules, statements in (*heard, (rejections, said)):
        if found := _last(rules, statements):
            return _verdict(*found)
    return _unknown("EngineCrash", (said or first.fatal)[-1:])


def _heard(process: Process) -> Process:
    """Return a process without its words about other processes, unless it has no others."""
    kept = [_own(process.exceptions), _own(process.remarks), _own(process.fatal)]
    if not any(kept):
        return process
    return Process(rank=process.rank, exceptions=kept[0], remarks=kept[1], fatal=kept[2])


def _own(statements: Sequence[Statement]) -> list[Statement]:
    return [each for each in statements if not _says(each, AFTERMATH) and not _says(each, WRAPPERS)]


def _is_cause(process: Process) -> bool:
    return bool(_own([*process.exceptions, *process.remarks, *process.fatal]))


def _last(rules: Sequence[Rule], statements: Sequence[Statement]) -> tuple[Rule, Statement] | None:
    """Return the last statement that a rule knows."""
    found = (_first(rules, [statement]) for statement in reversed(statements))
    return next((each for each in found if each is not None), None)


def _says(statement: Statement, words: re.Pattern[str]) -> bool:
    return words.search(statement.text) is not None


def _says_nothing(statement: Statement) -> bool:
    """Return whether a statement is a bare assertion: only a traceback in the log shows what it asserts."""
    return statement.kind.endswith("AssertionError") and not statement.message


def _applicable(rules: Sequence[Rule], evidence: Evidence) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule.applies(evidence.phase, evidence.device))


def _first(rules: Sequence[Rule], statements: Sequence[Statement]) -> tuple[Rule, Statement] | None:
    """Return the first rule that knows one of the statements."""
    for rule in rules:
        for statement in statements:
            if rule.knows(statement.text):
                return rule, statement
    return None


def _verdict(rule: Rule, statement: Statement) -> Refused | Failed:
    detail = _detail(statement.summary, rule.remedy)
    if rule.infeasible is not None:
        return Refused(reason=rule.infeasible, detail=detail, largest_only=rule.infeasible == "GpuOutOfMemory")
    return Failed(reason=rule.broken, detail=detail, retry=rule.retry)


def _unknown(reason: BrokenReason, statements: Sequence[Statement], *, ending: str = "", remedy: str = "") -> Failed:
    """Return a failure that no row knows: its own words, the end of the log, and where to read the rest."""
    words = statements[0].summary if statements else ""
    if ending:
        words = f"{words.rstrip('.')}; its last output: {ending[:_LAST_LINE]}"
    return Failed(reason=reason, detail=_detail(words or "it said nothing", remedy or _WHOLE_LOG))


def _detail(words: str, remedy: str) -> str:
    """Return a statement and its remedy as sentences on one line, within the maximum length."""
    words = one_line(words)
    if not remedy:
        return words[:MAX_DETAIL]
    return f"{words[: MAX_DETAIL - len(remedy) - 2].rstrip(' .')}. {remedy}"


def _source_of(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None or not isinstance(error, AssertionError):
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno).strip()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
