"""`infpop tune --heatmap FILE`: draw the landscape. The drawing library is loaded only if the user requests it."""

import importlib
from importlib.util import find_spec
from pathlib import Path

from infpop_operator.core.errors import Problem, StudyError
from infpop_operator.core.installing import install_command
from infpop_operator.report.picture import Picture

FORMATS = (".png", ".svg", ".pdf")


def check_heatmap(path: Path) -> None:
    """Check that a picture can be drawn to `path`, before the study spends hours on its numbers.

    Raises:
        StudyError: the format is unknown, the directory is missing, or matplotlib is not installed.
    """
    if path.suffix not in FORMATS:
        raise _error(path, "has an unknown picture format", f"Use one of the endings {', '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise _error(path, f"the directory {path.parent} does not exist", "Create it")
    if find_spec("matplotlib") is None:
        raise _error(path, "needs matplotlib, which is not installed here", f"Run: {install_command('report')}")


def draw_heatmaps(study: str, picture: Picture, path: Path) -> None:
    """Draw each pool's newest round; if there are several pools, each file name ends in the name of its pool."""
    save = importlib.import_module("infpop_operator.report.figures.heatmap").save_heatmap
    simulated = " (simulated)" if picture.is_simulated else ""
    for pool in picture.pools:
        if pool.landscape is not None:
            target = path if len(picture.pools) == 1 else path.with_stem(f"{path.stem}-{pool.name}")
            title = f"{study} on {pool.name}{simulated}: generated tokens/s"
            save(pool.landscape, target, title=title, devices=f"{pool.device}s")


def _error(path: Path, message: str, remedy: str) -> StudyError:
    return StudyError([Problem(field="--heatmap", value=str(path), message=message, remedy=remedy)])
