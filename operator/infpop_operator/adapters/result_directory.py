"""Read the result of a study from files: a directory of `infpop tune`, its `status.json`, or a study as JSON."""

import json
from pathlib import Path
from typing import Any

from infpop_operator.adapters.directory_store import STATUS, STUDY
from infpop_operator.api.parse import parse_document
from infpop_operator.api.resource import KIND
from infpop_operator.api.study_object import StudyObject, parse_status, parse_study_object
from infpop_operator.core.errors import StoreError, StudyError

_REMEDY = "Name a directory of infpop tune, its status.json, or study/NAME for a study on a cluster"


def read_result(path: Path) -> StudyObject:
    """Return the study whose result is in `path`.

    A file may also hold a whole study, as `kubectl get -o json` prints it.

    Raises:
        StoreError: there is no such file, or it holds something else; the message contains a remedy.
        UnreadableError: the status has a form that this version cannot read.
    """
    file = path / STATUS if path.is_dir() else path
    content = _read_json(file)
    if not isinstance(content, dict):
        raise StoreError(f"{file}: is not the status of a study. {_REMEDY}.")
    if content.get("kind") == KIND:
        return _object(content, file)
    document_file = file.with_name(STUDY)
    try:
        document = parse_document(_read(document_file), source=str(document_file))
    except StudyError as error:
        raise StoreError(f"{error}\nKeep {STATUS} and the {STUDY} of the same study in one directory.") from error
    return StudyObject(
        name=document.metadata.name,
        engine=document.spec.engine.name,
        model=document.spec.model.name,
        document=document,
        status=parse_status(content),
    )


def _object(content: dict[str, Any], file: Path) -> StudyObject:
    try:
        return parse_study_object(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # by whatever means it was written
        message = f"{file}: is not a study as the API server has it ({type(error).__name__}: {error}). {_REMEDY}."
        raise StoreError(message) from error


def _read_json(file: Path) -> object:
    try:
        content: object = json.loads(_read(file))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{file}: is not JSON. {_REMEDY}.") from error
    return content


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise StoreError(f"{file}: does not exist. {_REMEDY}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{file}: cannot be read ({error}). {_REMEDY}.") from error
