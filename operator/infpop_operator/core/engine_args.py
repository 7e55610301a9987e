"""Build the engine arguments that serve the best configuration, ready to copy into a Deployment or a shell."""

import json

from infpop_operator.core.model import EngineSettings
from infpop_operator.core.run_spec import SEARCHED_FIELD
from infpop_operator.core.study import Configuration, Pool, Scalar, Study
from infpop_runner.contract import PIPELINE_HUB_ARGUMENTS, StrictJsonError, decode_argument


def engine_args(settings: EngineSettings, configuration: Configuration) -> tuple[str, ...]:
    """Return the engine's arguments for `configuration`, one string each, with the settings of its study or its round.

    For vLLM they follow the model's name in `vllm serve MODEL`; for Hugging Face pipelines they are keyword arguments
    of `transformers.pipeline`. Arguments that only keep a measurement fair (prefix caching off, end-of-sequence
    ignored) are left out: they do not belong in production.
    """
    extra = {**dict(settings.args), **dict(configuration.extra)}
    tokens = extra.pop(SEARCHED_FIELD, settings.max_num_batched_tokens)
    match settings.name:
        case "vllm":
            return _vllm(settings, configuration, max(int(tokens), configuration.batch_size), extra)
        case "hf-pipeline":
            return _hf_pipeline(settings, configuration, extra)
        case "simulated":
            return (f"--gpu-count={configuration.gpu_count}", f"--batch-size={configuration.batch_size}")


def engine_settings(study: Study, pool: Pool) -> EngineSettings:
    """Return the settings that a round on `pool` records, so that its best can be served after the study changes."""
    engine, model = study.engine, study.model
    return EngineSettings(
        name=engine.name,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        gpu_memory_utilization=engine.gpu_memory_utilization if pool.device == "cuda" else None,
        enforce_eager=engine.enforce_eager,
        args=tuple(engine.args.items()),
        dtype=model.dtype,
        revision=model.revision,
    )


def _vllm(
    settings: EngineSettings, configuration: Configuration, tokens: int, extra: dict[str, Scalar]
) -> tuple[str, ...]:
    args: dict[str, Scalar] = {
        "tensor_parallel_size": configuration.gpu_count,
        "max_num_seqs": configuration.batch_size,
        "max_num_batched_tokens": tokens,
    }
    if settings.gpu_memory_utilization is not None:
        args["gpu_memory_utilization"] = settings.gpu_memory_utilization
    if settings.dtype != "auto":
        args["dtype"] = settings.dtype
    if settings.revision is not None:
        args["revision"] = settings.revision
    if settings.enforce_eager:
        args["enforce_eager"] = True
    return tuple(part for name, value in (args | extra).items() for part in _flag(name, value))


def _flag(name: str, value: Scalar) -> tuple[str, ...]:
    """Return one argument of the command line: an object stays JSON, a list becomes several strings."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return (option if value else f"--no-{name.replace('_', '-')}",)
    items = _decoded(value)
    if isinstance(items, list):
        return (option, *(item if isinstance(item, str) else json.dumps(item) for item in items))
    return (f"{option}={value}",)


def _hf_pipeline(settings: EngineSettings, configuration: Configuration, extra: dict[str, Scalar]) -> tuple[str, ...]:
    args: dict[str, object] = {"batch_size": configuration.batch_size, "dtype": settings.dtype}
    if configuration.gpu_count > 1:
        args["device_map"] = "auto"
    if settings.revision is not None:
        args["revision"] = settings.revision
    args |= {name: extra[name] for name in PIPELINE_HUB_ARGUMENTS if name in extra}
    # Like the runner: the others are arguments of the model, not of the pipeline.
    model_args = {name: _decoded(value) for name, value in extra.items() if name not in PIPELINE_HUB_ARGUMENTS}
    if model_args:
        args["model_kwargs"] = model_args
    return tuple(f"{name}={value!r}" for name, value in args.items())


def _decoded(value: Scalar) -> object:
    """Return an argument as Python has it; a round of an older version may have text that only starts like JSON."""
    try:
        decoded: object = decode_argument(value)
    except StrictJsonError:
        return value
    return decoded
