"""The search of arXiv 2408.01050: `fmin` over unordered choices, 20 random trials first, repeats measured again."""

from collections.abc import Callable, Mapping
from contextlib import suppress

from hyperopt import STATUS_FAIL, STATUS_OK, Trials, fmin, hp, tpe
from hyperopt.exceptions import AllTrialsFailed
from numpy.random import default_rng

from infpop_operator.core.study import Configuration
from infpop_operator.replay.grids import Grid


def hyperopt_as_published(
    grid: Grid, seed: int, *, trials: int, number: Callable[[Configuration], float | None] | None = None
) -> list[Configuration]:
    """Return the configurations that `fmin` evaluates, in order; some of them occur several times.

    Args:
        grid: with the configurations.
        seed: of Hyperopt.
        trials: how many it evaluates.
        number: returns what is measured of a configuration, None where it fails; None: the recorded tokens/s.
    """
    measure = grid.rates.get if number is None else number
    space = {
        "gpu_count": hp.choice("gpu_count", grid.space.gpu_counts),
        "batch_size": hp.choice("batch_size", grid.space.batch_sizes),
    }
    asked: list[Configuration] = []

    def evaluate(point: Mapping[str, int]) -> dict[str, object]:
        cell = Configuration(gpu_count=int(point["gpu_count"]), batch_size=int(point["batch_size"]))
        asked.append(cell)
        rate = measure(cell)
        return {"status": STATUS_FAIL} if rate is None else {"status": STATUS_OK, "loss": -rate}

    with suppress(AllTrialsFailed):  # raised at the end if none of the asks worked; they count all the same
        fmin(
            evaluate,
            space,
            algo=tpe.suggest,
            max_evals=trials,
            trials=Trials(),
            rstate=default_rng(seed),
            show_progressbar=False,
            verbose=False,
        )
    return asked
