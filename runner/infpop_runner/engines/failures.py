"""Classify an engine's exception and log: the configuration cannot work here, or something broke.

The rules are data. They are tried in order against the exception (type names and messages of its whole chain). Only if
the exception is a mere wrapper for a cause in another process are they also tried against the end of the log: there
the last match decides, and lines of level INFO, WARNING and DEBUG do not count. The patterns cover vLLM 0.8 to 0.33,
transformers 4.51 to 5.23 and torch 2.6 to 2.13. A text that matches no rule is broken, never infeasible: a wrong
"broken" costs a retry, a wrong "infeasible" hides a good configuration.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from infpop_runner.contract import BrokenReason, InfeasibleReason
from infpop_runner.engines.errors import EngineBrokenError, EngineRefusedError

Phase = Literal["load", "measure"]
Device = Literal["cuda", "cpu"]
MAX_DETAIL = 600  # characters: the last lines of a traceback; a result has room for eight of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The configuration cannot work here. `largest_only`: a smaller batch may work in another load."""

    reason: InfeasibleReason
    detail: str
    largest_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Something broke that says nothing about the configuration."""

    reason: BrokenReason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The known facts of a failure: the exception's chain as "Type: message" lines, and the end of the log.

    `log_tail` holds only output since the start of the failed phase. `device` and `phase` say where it happened.
    """

    exception: str
    log_tail: str
    device: Device
    phase: Phase


def _rule(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


# The exception only says that the engine core failed: the cause is in the log of one of its processes.
WRAPPERS = _rule(
    r"Engine core initialization failed|EngineDeadError|EngineCore encountered an issue|WorkerProc|Worker failed"
    r"|Executor failed|Failed core proc"
)

REFUSALS: tuple[tuple[re.Pattern[str], InfeasibleReason], ...] = (
    (_rule(r"OutOfMemoryError|CUDA out of memory|HIP out of memory|CUDA error: out of memory"), "GpuOutOfMemory"),
    (_rule(r"CUBLAS_STATUS_ALLOC_FAILED"), "GpuOutOfMemory"),
    (_rule(r"No available memory for the cache blocks"), "GpuOutOfMemory"),
    (_rule(r"To serve at least one request with the model.s max seq len"), "GpuOutOfMemory"),
    (_rule(r"attention heads .{0,40}must be divisible by tensor parallel size"), "HeadsNotDivisible"),
    (_rule(r"no kernel image is available for execution on the device"), "IncompatibleGPU"),
    (_rule(r"Bfloat16 is only supported on GPUs with compute capability"), "IncompatibleGPU"),
)
# On a CPU pool the machine's memory is the device's memory.
CPU_MEMORY = _rule(r"DefaultCPUAllocator|\bMemoryError\b|Cannot allocate memory")

ENVIRONMENT_FAILURES: tuple[tuple[re.Pattern[str], BrokenReason], ...] = (
    (_rule(r"Free memory on device .{0,200}is less than desired GPU memory utilization"), "GpuNotClean"),
    (CPU_MEMORY, "HostOutOfMemory"),
    (
        _rule(
            r"RepositoryNotFoundError|GatedRepoError|RevisionNotFoundError|EntryNotFoundError|HFValidationError"
            r"|is not a local folder and is not a valid model identifier|does not appear to have a file named"
            r"|Can.t load (the )?(configuration|tokenizer|model)|Unrecognized model in|Invalid repository ID"
            r"|SafetensorError|Cannot find any model weights|couldn.t connect to|(401|403|404) Client Error"
        ),
        "ModelUnavailable",
    ),
)
# An engine's errors about its own arguments during the load; the same types raised later are defects.
REJECTIONS = _rule(r"pydantic_core\S*ValidationError: |unexpected keyword argument|model_kwargs.{0,20} are not used")
# Log lines of an engine's process that refuses a value which the parent process could not check.
LOAD_WRAPPER = _rule(r"Engine core initialization failed")
LOGGED_REJECTIONS = _rule(
    r"pydantic_core\S*ValidationError: |ValueError: User-specified max_model_len"
    r"|ValueError: (Invalid|Unknown|Unsupported) "
    r"(attention backend|block.?size|prefix_match_unit|quantization|kv.cache)"
    r"|ValueError: Selected backend .{0,200}is not valid for this configuration"
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LEVEL = re.compile(r".{0,60}?\b(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
CRASHES: tuple[tuple[re.Pattern[str], BrokenReason], ...] = (
    (WRAPPERS, "EngineCrash"),
    (_rule(r"^(builtins\.)?(ModuleNotFound|Import)Error"), "RunnerError"),
)


def describe_exception(error: BaseException) -> str:
    """Return the exception and its causes, outermost first, one "module.Type: message" each."""
    return "\n".join(f"{type(link).__module__}.{type(link).__qualname__}: {link}" for link in _chain(error))


def classify_exception(error: BaseException, *, log_tail: str, device: Device, phase: Phase) -> Refused | Failed:
    """Return what `error` means for the trial that raised it."""
    if isinstance(error, EngineRefusedError):
        largest_only = error.largest_only or error.reason == "GpuOutOfMemory"
        return Refused(reason=error.reason, detail=str(error)[:MAX_DETAIL], largest_only=largest_only)
    if isinstance(error, EngineBrokenError):
        return Failed(reason=error.reason, detail=str(error)[:MAX_DETAIL])
    return classify(Evidence(exception=describe_exception(error), log_tail=log_tail, device=device, phase=phase))


def classify(evidence: Evidence) -> Refused | Failed:
    """Return what the evidence means; `RunnerError` if no rule matches."""
    wrapped = WRAPPERS.search(evidence.exception) is not None
    log = _only_errors(evidence.log_tail) if wrapped else ""
    known = _first_verdict(evidence.exception, evidence.device) or _last_verdict(log, evidence.device)
    if known is not None:
        return known
    if evidence.phase == "load":
        if found := REJECTIONS.search(evidence.exception):
            return Refused(reason="RejectedArguments", detail=_excerpt(evidence.exception, found))
        if LOAD_WRAPPER.search(evidence.exception) and (found := _last(LOGGED_REJECTIONS, log)):
            return Refused(reason="RejectedArguments", detail=_excerpt(log, found))
    return _crash(evidence)


def _only_errors(log: str) -> str:
    """Return the lines of level ERROR or CRITICAL, or without a level; colour codes are removed."""
    lines = COLOUR.sub("", log).splitlines()
    levels = [LEVEL.match(line) for line in lines]
    return "\n".join(
        line
        for line, level in zip(lines, levels, strict=True)
        if level is None or level[1] not in {"DEBUG", "INFO", "WARNING"}
    )


def _verdicts(text: str, device: Device) -> Iterator[tuple[re.Match[str], Refused | Failed]]:
    """Yield the last match of each rule with its verdict, in the order of the rules."""
    refusals = (*REFUSALS, (CPU_MEMORY, "GpuOutOfMemory")) if device == "cpu" else REFUSALS
    for pattern, reason in refusals:
        if found := _last(pattern, text):
            detail = _excerpt(text, found)
            yield found, Refused(reason=reason, detail=detail, largest_only=reason == "GpuOutOfMemory")
    for pattern, cause in ENVIRONMENT_FAILURES:
        if found := _last(pattern, text):
            yield found, Failed(reason=cause, detail=_excerpt(text, found))


def _first_verdict(text: str, device: Device) -> Refused | Failed | None:
    return next((verdict for _, verdict in _verdicts(text, device)), None)


def _last_verdict(log: str, device: Device) -> Refused | Failed | None:
    verdicts = list(_verdicts(log, device))
    return max(verdicts, key=lambda item: item[0].start())[1] if verdicts else None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    matches = list(pattern.finditer(text))
    return matches[-1] if matches else None


def _crash(evidence: Evidence) -> Failed:
    known = next((reason for pattern, reason in CRASHES if pattern.search(evidence.exception)), None)
    detail = evidence.exception if known is None else f"{evidence.exception}\n{_last_lines(evidence.log_tail)}"
    return Failed(reason=known or "RunnerError", detail=detail[:MAX_DETAIL])


def _excerpt(text: str, found: re.Match[str]) -> str:
    """Return the line of the match and the text after it, up to the maximum length of a detail."""
    start = text.rfind("\n", 0, found.start()) + 1
    return text[start : start + MAX_DETAIL].strip()


def _last_lines(log_tail: str) -> str:
    return log_tail[-MAX_DETAIL // 2 :].strip()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
