"""Read the text of a study file."""

from pathlib import Path

from infpop_operator.api.resource import KIND
from infpop_operator.core.errors import Problem, StudyError


def read_study_text(path: Path) -> str:
    """Return the text of the file.

    Raises:
        StudyError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        remedy = "Save it as UTF-8; some editors on Windows write UTF-16"
        raise StudyError([Problem(field=str(path), value="", message="is not UTF-8", remedy=remedy)]) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        what = _why(error)
        problem = Problem(field=str(path), value="", message=what, remedy=f"Name a file that holds a {KIND}")
        raise StudyError([problem]) from error


def _why(error: OSError | ValueError) -> str:
    match error:
        case FileNotFoundError():
            return "does not exist"
        case IsADirectoryError():
            return "is a directory"
        case OSError():
            return f"cannot be read ({error.strerror})"
        case _:
            return f"cannot be read ({error})"
