"""The marks of cells without a comparable number, the same in figures and in the HTML report, and what they mean.

The first is shown in the cell, the second in the legend. Figures add a hatch, so that no state depends on colour alone.
"""

from infpop_operator.core.landscape import CellState

BEST = "★"
REUSED = "‡"
SLOWER = "<"
BARRED = "†"  # measured, but it breaks a constraint or lacks a metric of the study

MARKS = {
    CellState.INFEASIBLE: ("✗", "tried, cannot work"),
    CellState.RACED_OUT: (SLOWER, "slower than the best: at most this number"),
    CellState.RULED_OUT: ("–", "not tried: certain to fail"),  # noqa: RUF001 - a dash as wide as a digit
    CellState.INVALID: ("~", "its number must not be compared"),
    CellState.BROKEN: ("!", "the run gave no result"),
    CellState.RUNNING: ("…", "running"),
    CellState.UNTRIED: ("·", "not tried"),
    CellState.OUTSIDE: ("", "not in the search space"),
}
