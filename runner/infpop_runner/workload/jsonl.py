"""Read one text field from JSON lines, plain or gzip-compressed; errors name the line."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from infpop_runner.workload.errors import WorkloadError

GZIP_MAGIC = b"\x1f\x8b"


def read_texts(path: Path, *, field: str, limit: int) -> list[str]:
    """Return the values of `field` in the first `limit` non-empty lines of the file, fewer if it is shorter.

    Raises:
        WorkloadError: the file cannot be read, a line is not a JSON object, or its field is absent or not a text.
    """
    try:
        return parse_texts(path.read_bytes(), name=str(path), field=field, limit=limit)
    except OSError as error:
        raise WorkloadError(f"workload file {path}: {error.strerror or error}") from error


def parse_texts(content: bytes, *, name: str, field: str, limit: int) -> list[str]:
    """Return the same as `read_texts`, from the bytes of a file that messages call `name`.

    Raises:
        WorkloadError: as for `read_texts`.
    """
    texts: list[str] = []
    for number, line in _lines(content, name):
        if len(texts) == limit:
            break
        texts.append(_text(line, f"workload file {name}, line {number}", field))
    return texts


def _lines(content: bytes, name: str) -> Iterator[tuple[int, str]]:
    try:
        plain = gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
        lines: Iterable[str] = plain.decode("utf-8-sig").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise WorkloadError(
            f"workload file {name}: neither JSON lines in UTF-8 nor gzip-compressed ones ({error})"
        ) from error
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _text(line: str, where: str, field: str) -> str:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise WorkloadError(f"{where}: not JSON ({error.msg})") from error
    if not isinstance(record, dict):
        raise WorkloadError(f"{where}: a {type(record).__name__} instead of an object")
    if field not in record:
        raise WorkloadError(f"{where}: no field {field!r}; its fields are {sorted(record)}")
    text = record[field]
    if not isinstance(text, str) or not text:
        raise WorkloadError(f"{where}: field {field!r} is not a non-empty text")
    return text
