"""InfPop from Python: read results, tune on this machine, and check studies.

Only the names in `__all__` are promised; `infpop_operator` and `infpop_runner` are internal. Tables are pandas
DataFrames, which need the extra `report`; everything else works without it.

    import infpop

    study = infpop.load("infpop-results/codellama-7b")
    print(study.best)
    print(study.landscape())
"""

import importlib
from typing import TYPE_CHECKING

from infpop_operator import __version__

if TYPE_CHECKING:
    from infpop.checking import validate
    from infpop.reading import read_trials
    from infpop.study import Study, load
    from infpop.tuning import tune
    from infpop_operator.analysis.rows import TrialResultRow as Trial
    from infpop_operator.core.errors import InfPopError, Problem, StudyError

__all__ = [
    "InfPopError",
    "Problem",
    "Study",
    "StudyError",
    "Trial",
    "__version__",
    "load",
    "read_trials",
    "tune",
    "validate",
]

# Module and name there. A module is imported when one of its names is used: what reads results loads no search.
_HOMES = {
    "InfPopError": ("infpop_operator.core.errors", "InfPopError"),
    "Problem": ("infpop_operator.core.errors", "Problem"),
    "Study": ("infpop.study", "Study"),
    "StudyError": ("infpop_operator.core.errors", "StudyError"),
    "Trial": ("infpop_operator.analysis.rows", "TrialResultRow"),
    "load": ("infpop.study", "load"),
    "read_trials": ("infpop.reading", "read_trials"),
    "tune": ("infpop.tuning", "tune"),
    "validate": ("infpop.checking", "validate"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = _HOMES[name]
    value: object = getattr(importlib.import_module(module), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
