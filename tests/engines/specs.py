"""Run specs that are valid by default, for every test of the runner."""

from typing import Any

from infpop_runner.contract import RunSpec

DEFAULTS: dict[str, Any] = {
    "study": "study",
    "pool": "pool",
    "round": 1,
    "run": "run-1",
    "model": {"name": "model"},
    "engine": {"name": "vllm", "enforce_eager": True, "max_num_batched_tokens": 2048},
    "workload": {"source": {"kind": "synthetic", "prompt_tokens": 16}, "samples": 8, "max_new_tokens": 4},
    "device": "cpu",
    "gpu_count": 1,
    "measurement": {"min_repeat_seconds": 0.0, "max_spread_ratio": 100.0},
}


def make_run_spec(*, batches: tuple[int, ...] = (4,), **changes: object) -> RunSpec:
    """Return a run of one trial for each of `batches`; a change that is a mapping is merged into the default's."""
    trials = [{"index": index, "batch_size": batch} for index, batch in enumerate(batches)]
    document: dict[str, Any] = {**DEFAULTS, "trials": trials}
    for name, value in changes.items():
        default = document.get(name)
        document[name] = {**default, **value} if isinstance(default, dict) and isinstance(value, dict) else value
    return RunSpec.model_validate(document)


def make_simulated_spec(
    *, batches: tuple[int, ...] = (4,), simulation: dict[str, Any] | None = None, **changes: object
) -> RunSpec:
    """Return a run of the simulated engine."""
    engine = {"name": "simulated", "simulation": simulation or {}}
    return make_run_spec(batches=batches, engine=engine, **changes)
