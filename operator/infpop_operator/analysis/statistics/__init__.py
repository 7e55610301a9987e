"""Answer the questions of the report by statistics: `answer` returns a flat list of `Statistic`.

This package needs scipy and statsmodels, of the extra `report`.
"""

from infpop_operator.analysis.statistics.answers import answer
from infpop_operator.analysis.statistics.statistic import Statistic, to_document

__all__ = ["Statistic", "answer", "to_document"]
