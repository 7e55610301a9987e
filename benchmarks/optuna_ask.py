"""Ask Optuna's samplers for configurations: a reference for `bench_search.py`. Optuna is imported when asked."""

from collections.abc import Callable, Iterator
from importlib import import_module
from warnings import catch_warnings, simplefilter

from infpop_operator.core.search.encoding import axes, decode
from infpop_operator.core.space import cells
from infpop_operator.core.study import Configuration, SearchSpace

_SAMPLERS = {"tpe": "TPESampler", "gp": "GPSampler"}
_REPEATS = 20  # asks in a row for what is known, before a sampler is taken to have nothing new


def asked(
    sampler: str, space: SearchSpace, seed: int, most: int, measure: Callable[[Configuration], float | None]
) -> Iterator[Configuration]:
    """Yield up to `most` different configurations that a sampler asks for, on ordinal axes with its own defaults.

    A configuration that it asks for again gets the known number, and is not yielded. When it asks only for known ones,
    the next one of the space follows.
    """
    optuna = import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=getattr(optuna.samplers, _SAMPLERS[sampler])(seed=seed))
    failed = optuna.trial.TrialState.FAIL
    numbers: dict[Configuration, float | None] = {}
    repeats = 0
    while len(numbers) < min(most, len(cells(space))):
        with catch_warnings():
            simplefilter("ignore")
            trial = study.ask()
            found = {axis.label: trial.suggest_int(axis.label, 0, len(axis.values) - 1) for axis in axes(space)}
        cell = decode(space, found)
        repeats = repeats + 1 if cell in numbers else 0
        new = cell not in numbers
        if new:
            numbers[cell] = measure(cell)
        number = numbers[cell]
        study.tell(trial, None if number is None else number, state=failed if number is None else None)
        if new:
            yield cell
        if repeats >= _REPEATS:
            repeats = 0
            cell = next(each for each in cells(space) if each not in numbers)
            numbers[cell] = measure(cell)
            yield cell
