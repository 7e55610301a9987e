"""Read the quality scores of models from a CSV file with the columns `model` and `score`."""

import csv
from math import isfinite
from pathlib import Path

from infpop_operator.core.errors import ReportError

_REMEDY = "Give a CSV file with the columns model and score, one line for each model"


def read_scores(path: Path) -> dict[str, float]:
    """Return the score of each model by its name; the unit is that of the user.

    Raises:
        ReportError: the file cannot be read, lacks a column, names a model twice, or a score is no finite number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = {"model", "score"} - set(reader.fieldnames or ())
            if missing:
                raise ReportError(f"--scores: {path}: lacks the columns {', '.join(sorted(missing))}. {_REMEDY}.")
            lines = [(reader.line_num, line) for line in reader]
    except (OSError, ValueError, csv.Error) as error:  # ValueError: not UTF-8
        raise ReportError(f"--scores: {path}: cannot be read ({error}). {_REMEDY}.") from error
    scores: dict[str, float] = {}
    for number, line in lines:
        model = (line["model"] or "").strip()
        if model in scores:
            raise ReportError(f"--scores: {path}, line {number}: {model}: is named twice. Keep one of the lines.")
        scores[model] = _score(path, number, line["score"] or "")
    return scores


def _score(path: Path, number: int, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    if not isfinite(score):
        raise ReportError(f"--scores: {path}, line {number}, score: {text}: is no number. Write one such as 41.3.")
    return score
