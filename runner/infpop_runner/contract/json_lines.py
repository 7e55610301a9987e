"""Read prompts from JSON lines: the one definition of what a prompt is, for the operator's check and for the runner.

One JSON object per line, in UTF-8, whose field is a non-empty text; blank lines are skipped. The file may be compressed
with gzip. Errors name the line.
"""

import gzip
import json
import zlib
from typing import Literal

from infpop_runner.contract.strict_json import StrictJsonError, find_surrogate, parse_object_with

_GZIP_MAGIC = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
_SHOWN_KEYS = 8
_SHOWN_CHARACTERS = 40
_EXAMPLE = 'Write one JSON object per line, for example {"prompt": "..."}'


class PromptError(ValueError):
    """A file or one of its lines is not acceptable.

    `message` continues a sentence that names the file. `about` is the part of the source that is wrong.
    """

    def __init__(self, message: str, remedy: str, *, about: Literal["path", "field"] = "path") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.about = about


def parse_prompts(content: bytes, *, field: str, limit: int) -> list[str]:
    """Return the values of `field` in the first `limit` lines that are not blank, fewer if there are fewer.

    Args:
        content: JSON lines, plain or compressed with gzip.
        field: the key of each line that holds the prompt.
        limit: number of prompts; lines after them are not checked.

    Raises:
        PromptError: the content is not JSON lines, or one of these lines has no prompt.
    """
    prompts: list[str] = []
    for number, line in enumerate(_decompressed(content).removeprefix(_UTF8_MARK).split(b"\n"), start=1):
        if len(prompts) == limit:
            break
        if line.strip():
            prompts.append(_prompt(line, f"line {number}", field))
    return prompts


def _decompressed(content: bytes) -> bytes:
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise PromptError(f"is not complete gzip ({error})", "Compress it again, or give it as plain text") from error


def _prompt(line: bytes, where: str, field: str) -> str:
    record = _record(line, where, field)
    if field not in record:
        known = ", ".join(json.dumps(key)[1:-1][:_SHOWN_CHARACTERS] for key in list(record)[:_SHOWN_KEYS])
        remedy = f"Name one that the line has: {known}" if known else _EXAMPLE
        raise PromptError(f"{where} lacks the field {field!r}", remedy, about="field")
    text = record[field]
    if not isinstance(text, str) or not text:
        remedy = "Name a field that holds text on every line"
        raise PromptError(f"{where} has no text in the field {field!r}", remedy, about="field")
    if half := find_surrogate(text):
        message = f"{where} has half of a character, {half}, in the field {field!r}, which no tokenizer can encode"
        raise PromptError(message, "Cut texts between characters, not within one")
    return text


def _record(line: bytes, where: str, field: str) -> dict[str, object]:
    try:
        record = parse_object_with(field, line.decode("utf-8"))
    except UnicodeDecodeError as error:
        message = f"{where} is not UTF-8 text (byte 0x{line[error.start]:02x} at position {error.start + 1})"
        raise PromptError(message, "Save the file as UTF-8, or compress it with gzip") from error
    except StrictJsonError as error:
        remedy = _EXAMPLE if error.remedy == "Correct it" else error.remedy
        raise PromptError(f"{where} {error.message}", remedy) from error
    if not isinstance(record, dict):
        raise PromptError(f"{where} is not a JSON object", _EXAMPLE)
    return record
