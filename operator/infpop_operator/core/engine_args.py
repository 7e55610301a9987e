"""Build the engine arguments that serve the best configuration, ready to copy into a Deployment or a shell."""

import ast
import json
from collections.abc import Mapping, Sequence

from infpop_operator.core.model import EngineSettings
from infpop_operator.core.run_spec import SEARCHED_FIELD
from infpop_operator.core.scalars import parse_scalar
from infpop_operator.core.study import Configuration, Pool, Scalar, Study
from infpop_runner.contract import (
    CPU_KV_CACHE_BYTES,
    PIPELINE_HUB_ARGUMENTS,
    StrictJsonError,
    decode_argument,
    parse_json,
)

# vLLM's arguments that are text: a revision of digits alone stays one.
_TEXTS = frozenset({"code_revision", "dtype", "hf_token", "revision", "tokenizer_revision"})


def engine_args(
    settings: EngineSettings, configuration: Configuration, *, max_model_len: int | None = None
) -> tuple[str, ...]:
    """Return the engine's arguments for `configuration`, one string each, with the settings of its study or its round.

    For vLLM they follow the model's name in `vllm serve MODEL`; for Hugging Face pipelines they are keyword arguments
    of `transformers.pipeline`. They are all arguments of the measurement that decide whether a server starts and how
    fast it is. Those that only keep a measurement fair (prefix caching off, end-of-sequence ignored, the scheduler that
    holds the batch size, random weights) are left out: they do not belong in production.

    Args:
        settings: of the study or the round.
        configuration: the configuration to serve with.
        max_model_len: the context length with which vLLM was loaded, None if it is unknown. Without it vLLM takes the
            model's own, for whose KV cache there may be no memory.
    """
    extra = {**dict(settings.args), **dict(configuration.extra)}
    tokens = extra.pop(SEARCHED_FIELD, settings.max_num_batched_tokens)
    match settings.name:
        case "vllm":
            tokens = max(int(tokens), configuration.batch_size)
            return _vllm(settings, configuration, tokens, extra, max_model_len)
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


def named_arguments(engine: str, args: Sequence[str]) -> Mapping[str, object]:
    """Return the arguments by their Python names, as the engine's Python interface takes them.

    Args:
        engine: name of the engine.
        args: as built by `engine_args`.
    """
    if engine == "hf-pipeline":
        return {name: _literal(value) for name, _, value in (each.partition("=") for each in args)}
    return _named_flags(args)


def _named_flags(args: Sequence[str]) -> dict[str, object]:
    """Return the flags of a command line by name; strings after a flag without a value are the items of a list."""
    found: dict[str, object] = {}
    last = ""
    for each in args:
        option, has_value, value = each.partition("=")
        if not each.startswith("--"):
            items = found.get(last)
            found[last] = [*(items if isinstance(items, list) else ()), _item(each)]
        elif has_value:
            last = _python_name(option)
            found[last] = value if last in _TEXTS else _decoded(parse_scalar(value))
        else:
            last = _python_name(option.replace("--no-", "--", 1))
            found[last] = not option.startswith("--no-")
    return found


def _python_name(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _item(text: str) -> object:
    """Return an item of a list: the command line does not tell the text 1 from the number."""
    try:
        found: object = parse_json(text)
    except StrictJsonError:
        return text
    return found


def _literal(text: str) -> object:
    try:
        found: object = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return found


def _vllm(
    settings: EngineSettings,
    configuration: Configuration,
    tokens: int,
    extra: dict[str, Scalar],
    max_model_len: int | None,
) -> tuple[str, ...]:
    args: dict[str, Scalar] = {
        "tensor_parallel_size": configuration.gpu_count,
        "max_num_seqs": configuration.batch_size,
        "max_num_batched_tokens": tokens,
    }
    if max_model_len is not None:
        args["max_model_len"] = max_model_len
    if settings.gpu_memory_utilization is not None:
        args["gpu_memory_utilization"] = settings.gpu_memory_utilization
    else:
        args["kv_cache_memory_bytes"] = CPU_KV_CACHE_BYTES
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
    # Like the runner: a pipeline that chooses its device itself places a model that does not fit in another way.
    args |= {"device": "cpu"} if settings.gpu_memory_utilization is None else {"device_map": "auto"}
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
