"""The arguments with which to serve the best configuration, ready to copy into a Deployment or a shell."""

from infpop_operator.core.model import Configuration, Scalar, Study
from infpop_operator.core.run_spec import SEARCHED_FIELD


def engine_args(study: Study, configuration: Configuration) -> tuple[str, ...]:
    """Return the engine's own arguments for `configuration`, one string each.

    For vLLM these follow the model's name in `vllm serve MODEL`; for Hugging Face pipelines they are keyword arguments
    of `transformers.pipeline`. What only makes a measurement honest (prefix caching off, ignored end-of-sequence) is
    left out: it does not belong in production.
    """
    extra = {**study.engine.args, **dict(configuration.extra)}
    tokens = extra.pop(SEARCHED_FIELD, study.engine.max_num_batched_tokens)
    match study.engine.name:
        case "vllm":
            return _vllm(study, configuration, max(int(tokens), configuration.batch_size), extra)
        case "hf-pipeline":
            return _hf_pipeline(study, configuration, extra)
        case "simulated":
            return (f"--gpu-count={configuration.gpu_count}", f"--batch-size={configuration.batch_size}")


def _vllm(study: Study, configuration: Configuration, tokens: int, extra: dict[str, Scalar]) -> tuple[str, ...]:
    args: dict[str, Scalar] = {
        "tensor_parallel_size": configuration.gpu_count,
        "max_num_seqs": configuration.batch_size,
        "max_num_batched_tokens": tokens,
    }
    if any(pool.device == "cuda" for pool in study.pools):
        args["gpu_memory_utilization"] = study.engine.gpu_memory_utilization
    if study.model.dtype != "auto":
        args["dtype"] = study.model.dtype
    if study.model.revision is not None:
        args["revision"] = study.model.revision
    if study.engine.enforce_eager:
        args["enforce_eager"] = True
    return tuple(_flag(name, value) for name, value in (args | extra).items())


def _flag(name: str, value: Scalar) -> str:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return f"--{option}={value}"


def _hf_pipeline(study: Study, configuration: Configuration, extra: dict[str, Scalar]) -> tuple[str, ...]:
    args: dict[str, object] = {"batch_size": configuration.batch_size, "dtype": study.model.dtype}
    if configuration.gpu_count > 1:
        args["device_map"] = "auto"
    if study.model.revision is not None:
        args["revision"] = study.model.revision
    if extra:
        args["model_kwargs"] = extra  # as the runner passes them: they are the model's, not the pipeline's
    return tuple(f"{name}={value!r}" for name, value in args.items())
