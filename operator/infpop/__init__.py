"""InfPop from Python: read results, tune on this machine, and check studies.

Only the names in `__all__` are promised; `infpop_operator` and `infpop_runner` are internal. Tables are pandas
DataFrames, which need the extra `report`; everything else works without it.

    import infpop

    study = infpop.load("infpop-results/codellama-7b")
    print(study.best)
    print(study.landscape())
"""

from infpop.checking import validate
from infpop.study import Study, load
from infpop.tuning import tune
from infpop_operator import __version__
from infpop_operator.analysis.rows import TrialResultRow as Trial
from infpop_operator.core.errors import InfPopError, Problem, StudyError

__all__ = ["InfPopError", "Problem", "Study", "StudyError", "Trial", "__version__", "load", "tune", "validate"]
