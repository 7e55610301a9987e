"""Put together what several metrics sources say of the trials of one run.

The result that the runner left is complete and comes last; whoever watched it while it ran (its own metrics, later
Prometheus) comes first, in the order given. A number is kept when the sources agree. Where they do not, nobody knows
which is right, so the trial is invalid: it is measured again, and no number is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from infpop_operator.core.model import Finished, Sample, Value
from infpop_runner.contract import Invalid, Measured, TrialResult

AGREEMENT_RATIO = 0.01  # the same gauge, read twice, differs by rounding alone; 1 % is where repeats begin to differ

Samples = Mapping[int, Sample]


def gather(finished: Finished, sources: Sequence[tuple[str, Samples]]) -> Finished:
    """Return the run with each number from the first source that has one, and the source's name.

    Args:
        finished: as the runner's result says.
        sources: name of a metrics source, and what it has by trial index; the most trusted first.
    """
    given: dict[int, str] = {}
    trials: list[TrialResult] = []
    for trial in finished.result.trials:
        values = _values(trial, sources)
        if isinstance(trial, Measured) and values:
            trials.append(_agreed(trial, values))
            given[trial.index] = next(iter(values))
        else:
            trials.append(trial)
    return replace(finished, result=finished.result.model_copy(update={"trials": tuple(trials)}), sources=given)


def _values(trial: TrialResult, sources: Sequence[tuple[str, Samples]]) -> dict[str, float]:
    samples = ((name, found.get(trial.index)) for name, found in sources)
    return {name: sample.tokens_per_second for name, sample in samples if isinstance(sample, Value)}


def _agreed(trial: Measured, values: Mapping[str, float]) -> Measured | Invalid:
    own = trial.throughput_tokens_per_second
    if all(abs(value - own) <= AGREEMENT_RATIO * own for value in values.values()):
        return trial.model_copy(update={"throughput_tokens_per_second": next(iter(values.values()))})
    said = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
    detail = f"tokens/s differ by more than {AGREEMENT_RATIO:.0%}: {said}, result {own:.6g}"
    return Invalid(index=trial.index, batch_size=trial.batch_size, reason="SourcesDisagree", detail=detail)
