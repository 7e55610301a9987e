"""Check the prompts of a `file` workload before anything is started, and fingerprint the text of any workload.

The runner reads the prompts itself, with the same `parse_prompts`; this module only checks the file.
"""

import hashlib
from pathlib import Path

from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.fingerprint import digest
from infpop_runner.contract import FileSource, PromptError, WorkloadSource, parse_prompts

_FIELD = "spec.workload.source.file"


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
    try:
        found = len(parse_prompts(content, field=source.field, limit=samples))
    except PromptError as error:
        value = source.path if error.about == "path" else source.field
        raise _error(error.about, value, _sentence(error, source), error.remedy) from error
    if found < samples:
        problem = Problem(
            field="spec.workload.samples",
            value=str(samples),
            message=f"{source.path} has only {found} prompts",
            remedy=f"Use {found} or fewer" if found else "Name a file with prompts",
        )
        raise StudyError([problem])


def _sentence(error: PromptError, source: FileSource) -> str:
    return error.message if error.about == "path" else f"in {source.path}, {error.message}"


def _error(key: str, value: str, message: str, remedy: str) -> StudyError:
    return StudyError([Problem(field=f"{_FIELD}.{key}", value=value, message=message, remedy=remedy)])
