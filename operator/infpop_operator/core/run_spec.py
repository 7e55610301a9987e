"""Build the `RunSpec` that the runner reads from a planned run."""

from infpop_operator.core.model import Run
from infpop_operator.core.study import Pool, Scalar, Study
from infpop_runner.contract import LONGEST_REPEAT_SECONDS, EngineSpec, MeasurementSpec, RunSpec, TrialSpec

LONGER_FACTOR = 3.0  # second measurement after unstable repeats: noise falls with the square root, by 1.7x

SEARCHED_FIELD = "max_num_batched_tokens"  # the one pinned argument that a study may search over


def build_run_spec(study: Study, run: Run, *, scrape_grace_seconds: float = 0.0) -> RunSpec:
    """Return everything that the runner needs to execute `run`, with all defaults resolved.

    Args:
        study: the study.
        run: one of its runs.
        scrape_grace_seconds: how long the run waits at its end for a Prometheus scrape; 0 where Prometheus is not used.

    Raises:
        KeyError: the run's pool is not one of the study's.
    """
    pool = pool_named(study, run.pool)
    return RunSpec(
        namespace=study.namespace,
        study=study.name,
        pool=run.pool,
        round=run.round,
        run=run.name,
        model=study.model,
        engine=_engine(study.engine, run.trials[0].configuration.extra),
        workload=study.workload,
        device=pool.device,
        gpu_count=run.gpu_count,
        trials=tuple(
            TrialSpec(
                index=trial.index,
                batch_size=trial.configuration.batch_size,
                needs_tokens_per_second=trial.needs_tokens_per_second,
            )
            for trial in run.sequence
        ),
        to_beat_tokens_per_second=run.to_beat_tokens_per_second,
        measurement=_measurement(study.measurement, run),
        seed=study.algorithm.seed,
        scrape_grace_seconds=scrape_grace_seconds,
    )


def _engine(engine: EngineSpec, extra: tuple[tuple[str, Scalar], ...]) -> EngineSpec:
    """Return the engine with the searched arguments; one that has its own field goes there, never into `args`."""
    chosen = dict(extra)
    tokens = chosen.pop(SEARCHED_FIELD, engine.max_num_batched_tokens)
    changes = {"args": {**engine.args, **chosen}, SEARCHED_FIELD: tokens}
    return EngineSpec.model_validate(engine.model_dump() | changes)


def _measurement(wanted: MeasurementSpec, run: Run) -> MeasurementSpec:
    """Return how a run measures: what it confirms is published, so it is measured in full."""
    full = wanted.model_copy(update={"mode": "full"}) if run.confirms else wanted
    return _longer(full) if run.longer else full


def _longer(measurement: MeasurementSpec) -> MeasurementSpec:
    changes = {
        "min_repeat_seconds": min(measurement.min_repeat_seconds * LONGER_FACTOR, LONGEST_REPEAT_SECONDS),
        "measure_timeout_seconds": measurement.measure_timeout_seconds * LONGER_FACTOR,
    }
    return MeasurementSpec.model_validate(measurement.model_dump() | changes)


def pool_named(study: Study, name: str) -> Pool:
    """Return the study's pool with this name.

    Raises:
        KeyError: the study has no such pool.
    """
    for pool in study.pools:
        if pool.name == name:
            return pool
    raise KeyError(name)
