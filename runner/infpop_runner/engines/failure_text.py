"""Read what failed from an exception's chain and from a log: one statement for each exception, on one line.

A log of several processes says the same failure many times: first the process that failed, then each process that
waited for it. So the statements of a log are grouped by process, workers before engine cores before the rest, each in
the order of the log. Lines below level ERROR, warnings, notes of recovery and errors while Python exits are no
statements.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

WORKER, CORE, REST = range(3)  # the ranks of processes
MOST_LINES = 12  # of one message: a fatal error of torch lists its C++ stack after it


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """An exception, or a line that names an error: `kind` is the class with module, `source` the line that raised."""

    kind: str = ""
    message: str
    source: str = ""

    @property
    def text(self) -> str:
        """The statement as a traceback ends with it; a bare assertion is the line that it stands in."""
        message = self.message or self.source
        return f"{self.kind}: {message}" if self.kind else message

    @property
    def summary(self) -> str:
        """The statement without its class, unless one word is left that means nothing without it."""
        message = _CAUSES.sub("", _without_boilerplate(self.message or self.source))
        return message if " " in message or not self.kind else self._short(message)

    def _short(self, message: str) -> str:
        name = self.kind.rpartition(".")[2]
        return f"{name}: {message}" if message else name


@dataclass(slots=True)
class Process:
    """What one process said: its exceptions, and its other lines that name an error."""

    rank: int
    exceptions: list[Statement] = field(default_factory=list)
    remarks: list[Statement] = field(default_factory=list)
    fatal: list[Statement] = field(default_factory=list)


def read_exception(text: str) -> tuple[Statement, ...]:
    """Return the statements of `describe_exception`, outermost first."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        match = _CHAINED.match(line) or _NAMED.match(line)
        if match:
            found.append((match["kind"], [match["message"] or ""]))
        elif found:
            found[-1][1].append(line)
        elif line.strip():
            found.append(("", [line]))
    return tuple(Statement(kind=kind, message=_one_line(lines)) for kind, lines in found)


def read_log(log: str) -> tuple[Process, ...]:
    """Return the processes that said an error: workers, then engine cores, then the rest, by their first error."""
    processes: dict[str, Process] = {}
    for key, lines in _by_process(_lines(log)):
        process = processes.setdefault(key, Process(rank=_rank(key)))
        _read_block(lines, process)
    said = [each for each in processes.values() if each.exceptions or each.remarks or each.fatal]
    return tuple(sorted(said, key=lambda process: process.rank))


def last_line(log: str) -> str:
    """Return the last line of a log that is not empty, without its prefix."""
    lines = [line.text for line in _lines(log) if line.text.strip()]
    return " ".join(lines[-1].split()) if lines else ""


_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CHAINED = re.compile(r"(?P<kind>(?:\w+\.)+[A-Za-z_]\w*)(?:: (?P<message>.*))?$")
_PROCESS = re.compile(r"\((?P<process>[^()]*\bpid=\d+[^()]*)\) ?|\[(?P<ranked>rank\d+)\]: ?")
_LEVEL = re.compile(r".{0,60}?\b(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
_PREFIX = re.compile(
    r"(?: ?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b:?)? *(?:\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)? )?"
    r"(?:\[(?P<file>[^\]:]+):\d+\] ?|(?P<older>[\w.]+):\d+\] ?)?"
)
_GLOG = re.compile(r"\[?(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d")
_WARNED = re.compile(r"\S+:\d+: \w*Warning: |\w*Warning: ")
_RECOVERED = re.compile(
    r"\b(ignor(e|ed|ing)|fall(s|ing)? ?back|skipp(ed|ing)|retry(ing)?|continuing without)\b", re.IGNORECASE
)
# A step of the start that a process reaches only if what it said before was not fatal.
_REACHED = re.compile(
    r"Loading (?:model )?weights took|Model loading took|(?:Available|GPU) KV cache (?:memory|size)"
    r"|# (?:GPU|cuda) blocks|Graph capturing finished|init engine \("
)
_FRAME = re.compile(r'\s+File "[^"]*", line \d+')
_MARKS = re.compile(r"[\s~^]+$")
_ENDED = re.compile(r"(?P<kind>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$")
_NAMED = re.compile(
    r"(?!nccl\w+: )(?P<kind>(?:[A-Za-z_]\w*\.)*"
    r"[A-Za-z_]\w*(?:Error|Exception|OutOfResources|OfflineModeIsEnabled|Timeout|Exit))"
    r"(?:: (?P<message>.*))?$"
)
_CAUSES = re.compile(r"(?:(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|OutOfResources): )+(?=\S+ )")  # of another one
_WORKER_SAID = re.compile(r"Worker failed with error '(?P<cause>.*?)'?(?:, please check the stack trace.*)?$")
_LINKS = ("The above exception was the direct cause", "During handling of the above exception")
# What native code writes before it ends the process, or before Python raises an error that says less.
_FATAL = re.compile(
    r"\s*(?:what\(\): +|CUDA [Ee]rror: |Failed: Cuda error |.{0,80}\bNCCL WARN |Fatal Python error: "
    r"|nvidia-container-cli: )"
)
_WORKER_FILES = {"multiproc_executor.py", "multiproc_worker_utils.py", "worker_base.py", "gpu_worker.py", "worker.py"}
_CORE_FILES = {"core.py", "core_client.py"}
_BOILERPLATE = re.compile(
    r"\s*(?:CUDA kernel errors might be asynchronously|For debugging consider passing|Compile with .TORCH_USE"
    r"|Device-side assertion tracking|Search for .cuda\w+' in|For further information visit|Exception raised from "
    r"|During handling of the above exception|\[type=\w+[,\]]).*"
)
_VALIDATION = re.compile(r"\d+ validation errors? for \w+\s+(?:(?:Value error|Assertion failed), )?")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    process: str
    level: str
    text: str


def _lines(log: str) -> Iterator[_Line]:
    for raw in _COLOUR.sub("", log).splitlines():
        rest, process, level, file = raw, "", "", ""
        while match := _PROCESS.match(rest):  # the last one is the process itself, before it are those that read it
            process, rest = match["process"] or match["ranked"], rest[match.end() :]
        if match := _GLOG.match(rest):
            level = {"I": "INFO", "W": "WARNING"}.get(match["level"], "ERROR")
        elif match := _LEVEL.match(rest):
            level = match["level"]
        if (match := _PREFIX.match(rest)) and match[0].strip():  # the indentation of a frame is no prefix
            file, rest = match["file"] or match["older"] or "", rest[match.end() :]
        yield _Line(process=process or _process_of(file), level=level, text=rest)


def _process_of(file: str) -> str:
    """Return the process that logs in `file`; before vLLM 0.10 a line did not name its process."""
    name = file.rpartition("/")[2]
    if name in _WORKER_FILES:
        return "worker"
    return "core" if name in _CORE_FILES else ""


def _rank(process: str) -> int:
    name = process.lower()
    if "worker" in name or name.startswith("rank"):
        return WORKER
    return CORE if "core" in name else REST


def _by_process(lines: Iterable[_Line]) -> Iterator[tuple[str, list[_Line]]]:
    """Yield the lines of each process that follow its last success, in the order of its first line with an error."""
    groups: dict[str, list[_Line]] = {}
    for line in lines:
        if line.level == "INFO" and _REACHED.match(line.text):
            groups.pop(line.process, None)
        elif line.level not in {"DEBUG", "INFO", "WARNING"} and not _WARNED.match(line.text):
            groups.setdefault(line.process, []).append(line)
    yield from groups.items()


def _read_block(lines: Sequence[_Line], process: Process) -> None:
    """Sort the lines of one process into exceptions with their whole message, remarks and fatal errors."""
    position, source, in_traceback, ignored = 0, "", False, False
    while position < len(lines):
        text = lines[position].text
        position += 1
        if text.startswith("Exception ignored in"):
            ignored = True
        elif text.startswith("Traceback (most recent call last)") or _FRAME.match(text):
            in_traceback, source = True, ""
        elif in_traceback and text[:1].isspace():
            source = source if _MARKS.match(text) else f"{source} {text.strip()}".strip()
        elif match := (_ENDED if in_traceback else _NAMED).match(text):
            end = _end_of_message(lines, position)
            message = _one_line([match["message"] or "", *(line.text for line in lines[position:end])])
            if not ignored:
                process.exceptions.append(Statement(kind=match["kind"], message=message, source=source))
            position, in_traceback, ignored, source = end, False, False, ""
        else:
            _note(text, lines[position - 1].level, in_traceback, process)
            in_traceback = in_traceback and not text.strip()


def _note(text: str, level: str, in_traceback: bool, process: Process) -> None:  # noqa: FBT001 - one of four facts
    statement = Statement(message=" ".join(text.split()))
    if in_traceback and statement.message:
        process.exceptions.append(statement)
    elif _FATAL.match(text):
        process.fatal.append(statement)
    elif level and statement.message and not _RECOVERED.search(text):
        process.remarks.append(statement)


def _end_of_message(lines: Sequence[_Line], start: int) -> int:
    """Return where the message ends whose first line is before `start`."""
    for position in range(start, min(start + MOST_LINES, len(lines))):
        text = lines[position].text
        begins = text.startswith(("Traceback (most", "Exception ignored in", "Process ", *_LINKS))
        if begins or _NAMED.match(text) or _FATAL.match(text) or lines[position].level != lines[start - 1].level:
            return position
    return min(start + MOST_LINES, len(lines))


def _one_line(lines: Iterable[str]) -> str:
    text = " ".join(" ".join(lines).split())
    if match := _WORKER_SAID.match(text):
        return match["cause"]
    # Several arguments of an exception are shown as a tuple: ('is not supported for ', 'the current GPU.')
    return text[2:-2].replace("', '", "") if text.startswith("('") and text.endswith("')") else text


def _without_boilerplate(message: str) -> str:
    return _BOILERPLATE.sub("", _VALIDATION.sub("", message)).strip()
