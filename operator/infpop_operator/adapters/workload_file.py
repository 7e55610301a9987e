"""Check the prompts of a `file` workload before anything is started, and fingerprint the text of any workload.

The runner reads the prompts itself; this module only checks the file. Both must agree on what a prompt is: one JSON
object per line whose field is a non-empty text; blank lines are skipped.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.fingerprint import digest
from infpop_runner.contract import FileSource, WorkloadSource

_FIELD = "spec.workload.source.file"
_GZIP_MAGIC = b"\x1f\x8b"
_SHOWN_KEYS = 8


def workload_fingerprint(source: WorkloadSource, *, samples: int) -> str:
    """Return a hash that identifies the text of `source`: of a file's content, or of another source's name and version.

    Raises:
        StudyError: the file cannot be read, or does not hold `samples` prompts.
    """
    if not isinstance(source, FileSource):
        return digest(source.model_dump(mode="json"))[:16]
    content = _read(Path(source.path))
    _check(content, source, samples)
    return digest({"kind": "file", "field": source.field, "sha256": hashlib.sha256(content).hexdigest()})[:16]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({_reason(error)})"
        remedy = "Check the path; a relative one is relative to the study file"
        raise _error("path", str(path), what, remedy) from error


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _check(content: bytes, source: FileSource, samples: int) -> None:
    found = 0
    for number, line in _lines(content, source.path):
        if found == samples:
            return
        _check_line(line, number, source)
        found += 1
    if found < samples:
        problem = Problem(
            field="spec.workload.samples",
            value=str(samples),
            message=f"{source.path} has only {found} prompts",
            remedy=f"Use {found} or fewer" if found else "Name a file with prompts",
        )
        raise StudyError([problem])


def _lines(content: bytes, path: str) -> Iterator[tuple[int, str]]:
    try:
        plain = gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content
        lines = plain.decode("utf-8-sig").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        what = f"is neither UTF-8 text nor gzip-compressed UTF-8 text ({error})"
        raise _error("path", path, what, "Give JSON lines, plain or gzip-compressed") from error
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _check_line(line: str, number: int, source: FileSource) -> None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        remedy = 'Write one JSON object per line, for example {"prompt": "..."}'
        raise _error("path", source.path, f"line {number} is not JSON ({error.msg})", remedy) from error
    except RecursionError as error:
        remedy = 'Write one flat JSON object per line, for example {"prompt": "..."}'
        raise _error("path", source.path, f"line {number} is nested too deeply", remedy) from error
    except ValueError as error:  # an integer with thousands of digits
        raise _error("path", source.path, f"line {number} cannot be read ({error})", "Shorten its numbers") from error
    if not isinstance(record, dict):
        remedy = 'Write one JSON object per line, for example {"prompt": "..."}'
        raise _error("path", source.path, f"line {number} is not a JSON object", remedy)
    if source.field not in record:
        known = ", ".join(map(str, list(record)[:_SHOWN_KEYS])) or "no field at all"
        message = f"line {number} of {source.path} lacks this field"
        raise _error("field", source.field, message, f"Name one that the line has: {known}")
    if not isinstance(record[source.field], str) or not record[source.field]:
        message = f"line {number} of {source.path} has no text there"
        raise _error("field", source.field, message, "Name a field that holds text on every line")


def _error(key: str, value: str, message: str, remedy: str) -> StudyError:
    return StudyError([Problem(field=f"{_FIELD}.{key}", value=value, message=message, remedy=remedy)])
