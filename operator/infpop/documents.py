"""A study as a program gives it: the path of a file, YAML text, or a dict."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infpop_operator.adapters.machine import this_machine
from infpop_operator.adapters.study_file import read_study_text
from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.local.prepare import Prepared, prepare_text
from infpop_operator.local.tiny_model import tiny_model_directory

StudyDocument = str | os.PathLike[str] | Mapping[str, Any]


def environment() -> dict[str, str]:
    """Return the environment of this process, with which studies are prepared and runs are started."""
    return dict(os.environ)  # noqa: TID251 - the edge: from here on the environment is an argument


def prepared_study(study: StudyDocument) -> Prepared:
    """Return a study that can be tuned on this machine.

    Args:
        study: a path; YAML text, which has more than one line; or a dict of the same form. Relative paths in a file are
            relative to its directory, those in a text or dict to the current one.

    Raises:
        StudyError: the study is invalid, or cannot be tuned on this machine.
    """
    text, name, base = read_study(study)
    known = environment()
    return prepare_text(text, this_machine(known), name=name, base=base, tiny_model=tiny_model_directory(known))


def read_study(study: StudyDocument) -> tuple[str, str, Path]:
    """Return a study as YAML text, its name in messages, and the directory to which its paths are relative.

    Raises:
        StudyError: it cannot be read.
    """
    if isinstance(study, Mapping):
        return _text_of(study), "study", Path.cwd()
    if isinstance(study, str) and "\n" in study:
        return study, "study", Path.cwd()
    path = Path(study)
    return read_study_text(path), str(path), path.absolute().parent


def _text_of(study: Mapping[str, Any]) -> str:
    try:
        return yaml.safe_dump(dict(study), sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as error:
        message = f"has a value that YAML cannot hold ({str(error)[:200]})"
        remedy = "Use only text, numbers, true and false, lists and dicts"
        raise StudyError([Problem(field="study", value="", message=message, remedy=remedy)]) from error
