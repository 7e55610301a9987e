"""Turn a planned run into the `RunSpec` that its runner reads."""

from infpop_operator.core.model import Pool, Run, Study
from infpop_runner.contract import RunSpec, TrialSpec

LONGER_FACTOR = 3.0  # a second measurement after unstable repeats: noise of a mean falls with the root, so 1.7x less


def build_run_spec(study: Study, run: Run) -> RunSpec:
    """Return everything the runner needs to carry out `run`, every default resolved.

    Raises:
        KeyError: the run's pool is not one of the study's.
    """
    pool = pool_named(study, run.pool)
    measurement = study.measurement
    if run.longer:
        longer = {
            "min_repeat_seconds": measurement.min_repeat_seconds * LONGER_FACTOR,
            "measure_timeout_seconds": measurement.measure_timeout_seconds * LONGER_FACTOR,
        }
        measurement = measurement.model_copy(update=longer)
    args = {**study.engine.args, **dict(run.trials[0].configuration.extra)}
    return RunSpec(
        namespace=study.namespace,
        study=study.name,
        pool=run.pool,
        round=run.round,
        run=run.name,
        model=study.model,
        engine=study.engine.model_copy(update={"args": args}),
        workload=study.workload,
        device=pool.device,
        gpu_count=run.gpu_count,
        trials=tuple(
            TrialSpec(index=trial.index, batch_size=trial.configuration.batch_size)
            for trial in sorted(run.trials, key=lambda trial: trial.configuration.batch_size)
        ),
        measurement=measurement,
        seed=study.algorithm.seed,
    )


def pool_named(study: Study, name: str) -> Pool:
    """Return the pool of that name.

    Raises:
        KeyError: the study has no such pool.
    """
    for pool in study.pools:
        if pool.name == name:
            return pool
    raise KeyError(name)
