"""Plan the next run that measures a round's best again, once its search has ended.

Such a run has one trial, with the index of the trial of the search. Its attempt counts all runs that have measured that
trial again, so that each load has a name of its own and planning it twice gives the same name.
"""

from dataclasses import replace

from infpop_operator.core.confirmation import confirmation_of
from infpop_operator.core.confirming_loads import Loads
from infpop_operator.core.history import runs_of
from infpop_operator.core.model import PlannedTrial, Run
from infpop_operator.core.plan_view import View, planned_run


def with_confirmation(view: View) -> View:
    """Return the view of a round whose search has ended, with what it measures again."""
    return replace(view, again=confirmation_of(view.study, view.pool, view.history, view.round))


def search_is_live(view: View) -> bool:
    """Return whether a run of the search may still change what is measured again."""
    return any(not started.run.confirms for started in runs_of(view.history.active, view.round))


def confirming_run(view: View, loads: Loads) -> Run:
    """Return the run of the next load of a trial; after an unstable measurement it measures longer."""
    planned = PlannedTrial(index=loads.trial.index, configuration=loads.trial.configuration)
    return planned_run(view, (planned,), attempt=loads.runs + 1, longer=loads.longer, confirms=True)
