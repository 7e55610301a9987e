"""A transformers text-generation pipeline as an engine.

This is the real pipeline with its own batching, padding, generation and post-processing. Only its first step is
replaced: prompts come in as ids, tokenised once by the same tokenizer, so that both engines get the same ids and no
tokenisation is timed. The prompts of a pass are sorted by length, longest first: this minimises padding, and memory
runs out early if at all.
"""

import gc
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from accelerate import dispatch_model, infer_auto_device_map
from accelerate.utils import get_balanced_memory
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    TextGenerationPipeline,
    modeling_utils,
    pipeline,
)
from transformers.models.auto import auto_factory

from infpop_runner.contract import RunSpec, pipeline_arguments
from infpop_runner.engines.errors import EngineRefusedError
from infpop_runner.engines.hf_args import (
    build_generation_args,
    build_hub_args,
    build_model_args,
    build_pipeline_args,
    build_tokenizer_args,
)
from infpop_runner.engines.model_check import check_length, check_model, pipeline_known, read_config
from infpop_runner.engines.model_facts import model_facts
from infpop_runner.engines.prompt_set import PromptSet, tokenise
from infpop_runner.engines.protocol import AboutEngine, LoadRequest
from infpop_runner.engines.user_args import refuse_unknown, trusts_remote_code
from infpop_runner.measure import Block, PassOutcome, pass_length, sequential_batch_seconds

MISSING = {
    "batch_seconds_p50": "NoRequestTimes",
    "batch_seconds_p95": "NoRequestTimes",
    "concurrency_peak": "NoTimes",
    "gpu_memory_peak_bytes": "NoGpu",
    "pad_ratio": "NoInput",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """One `generate` call: number of rows, padded input length, padding positions, and when it ran."""

    rows: int
    input_length: int
    pad_positions: int
    started: float
    ended: float


class IdPipeline(TextGenerationPipeline):  # type: ignore[misc]
    """A text-generation pipeline that takes ids instead of texts and keeps a record of each batch."""

    clock: Callable[[], float]
    records: list[BatchRecord]

    def preprocess(self, prompt_text: tuple[int, ...], **_: Any) -> dict[str, Any]:  # noqa: ANN401 - transformers' own
        """Return the given ids in the form that tokenisation would return."""
        ids = torch.tensor([prompt_text])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "prompt_text": ""}

    def _forward(self, model_inputs: Any, **generate_kwargs: Any) -> Any:  # noqa: ANN401 - transformers' own
        mask = model_inputs["attention_mask"]
        rows, length = mask.shape
        padding = int(mask.numel() - mask.sum())
        started = self.clock()
        outputs = super()._forward(model_inputs, **generate_kwargs)
        synchronise()
        self.records.append(
            BatchRecord(rows=rows, input_length=length, pad_positions=padding, started=started, ended=self.clock())
        )
        return outputs


class HfPipelineEngine:
    """A loaded pipeline."""

    def __init__(self, pipe: IdPipeline, request: LoadRequest, prompts: PromptSet) -> None:
        self._pipe: IdPipeline | None = pipe
        self._request = request
        self._prompts = prompts
        spec = request.spec
        self._generation = build_generation_args(spec, pad_token_id=pipe.tokenizer.pad_token_id)
        self.about = AboutEngine(
            version=transformers.__version__,
            torch_version=torch.__version__,
            engine_args={"model": spec.model.name, **build_pipeline_args(spec), **spec.engine.args, **self._generation},
            device_mode="device-map-auto" if spec.device == "cuda" else "single-device",
            model=model_facts(pipe.model.config, dtype=pipe.model.dtype, trust_remote_code=trusts_remote_code(spec)),
            prompt_tokens_mean=prompts.mean_tokens,
            missing_reasons=MISSING,
        )

    def warm_up(self, batch_size: int) -> None:
        """Generate for one full batch of other prompts, and discard the output."""
        self._generate(list(self._prompts.of_warm_up(batch_size)), batch_size)

    def run_pass(self, batch_size: int) -> PassOutcome:
        """Time one call of the pipeline with all prompts of a pass."""
        return self._run(self._prompts.of_sorted_pass(batch_size), batch_size)

    def run_block(self, batch_size: int, first: int, batches: int) -> Block:
        """Time one call of the pipeline with some of the batches of a pass, each with the prompts that it has there."""
        prompts, length_ratio = self._prompts.of_sorted_block(batch_size, first, batches)
        outcome = self._run(prompts, batch_size)
        left = pass_length(samples=len(self._prompts.distinct), batch_size=batch_size) // batch_size - batches
        one = sequential_batch_seconds((outcome.intervals or ())[::batch_size], seconds=outcome.seconds)
        return Block(outcome=outcome, pass_seconds=outcome.seconds + left * one, length_ratio=length_ratio)

    def _run(self, prompts: list[tuple[int, ...]], batch_size: int) -> PassOutcome:
        synchronise()
        start = self._request.clock()
        answers, records = self._generate(prompts, batch_size)
        synchronise()
        seconds = self._request.clock() - start
        return PassOutcome(
            seconds=seconds,
            generated=tuple(
                len(answer) - records[number // batch_size].input_length for number, answer in enumerate(answers)
            ),
            intervals=tuple((record.started, record.ended) for record in records for _ in range(record.rows)),
            pad_positions=sum(record.pad_positions for record in records),
            input_positions=sum(record.rows * record.input_length for record in records),
        )

    def memory_peak_bytes(self) -> int | None:
        """Return the peak memory that torch reserved on any device; None on a CPU."""
        if self._request.spec.device == "cpu":
            return None
        return max(int(torch.cuda.max_memory_reserved(device)) for device in range(torch.cuda.device_count()))

    def clear_memory(self) -> bool:
        """Free the memory that torch's allocator keeps beyond the weights, and reset its peak."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            for device in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(device)
        return True

    def close(self) -> None:
        """Drop the model and free cached device memory."""
        self._pipe = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _generate(self, prompts: list[tuple[int, ...]], batch_size: int) -> tuple[list[Any], list[BatchRecord]]:
        if self._pipe is None:
            raise RuntimeError("the engine is closed")
        self._pipe.records = []
        answers = self._pipe(_stream(prompts), batch_size=batch_size, **self._generation)
        return [answer[0]["generated_token_ids"] for answer in answers], self._pipe.records


def load(request: LoadRequest) -> HfPipelineEngine:
    """Load tokenizer and model, and return them as a pipeline.

    Raises:
        EngineRefusedError: the device count or the arguments are unusable, the model has no token to pad with, the
            prompts are too long for it, or it does not fit on the devices.
    """
    spec = request.spec
    args, model_args = build_pipeline_args(spec), build_model_args(spec)
    if model_args and spec.model.load_format != "dummy":  # a configuration alone takes its own attributes, too
        refuse_unknown(spec, model_arguments(), f"transformers {transformers.__version__}")
    config = read_config(spec.model.name, build_tokenizer_args(spec))
    check_model(spec, config, pipeline_known(transformers.__version__))
    tokenizer = _tokenizer(spec)
    prompts = tokenise(request.prompts, tokenizer, seed=spec.seed)
    check_length(spec, config, prompts.longest)
    args |= {"model": _dummy_model(request) if spec.model.load_format == "dummy" else spec.model.name}
    pipe = pipeline(**args, tokenizer=tokenizer, pipeline_class=IdPipeline, model_kwargs=model_args)
    refuse_offload(getattr(pipe.model, "hf_device_map", None) or {})
    # Each call passes the lengths; transformers would warn each time about others in the model's own config.
    pipe.generation_config.max_length = pipe.generation_config.min_length = None
    _check_padding(pipe)
    pipe.clock = request.clock
    return HfPipelineEngine(pipe, request, prompts)


def synchronise() -> None:
    """Wait until every device has finished its queued work; do nothing on a CPU."""
    if torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            torch.cuda.synchronize(device)


def _stream(prompts: list[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Yield the prompts one by one: the pipeline batches a generator, but misinterprets a list of tuples."""
    yield from prompts


def model_arguments() -> frozenset[str]:
    """Return the names of the arguments that this version loads a model with; empty if they cannot be found out."""
    try:
        sources = inspect.getsource(auto_factory), inspect.getsource(modeling_utils)
    except OSError:
        return frozenset()
    return pipeline_arguments(auto_factory=sources[0], modeling_utils=sources[1])


def _tokenizer(spec: RunSpec) -> Any:  # noqa: ANN401 - transformers has no types
    name = spec.model.name
    tokenizer = AutoTokenizer.from_pretrained(name, **build_tokenizer_args(spec))
    if tokenizer.eos_token_id is None:
        raise EngineRefusedError("RejectedArguments", f"model.name: {name} has no end-of-sequence token to pad with")
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _dummy_model(request: LoadRequest) -> Any:  # noqa: ANN401 - transformers has no types
    """Return the model with random weights, of the right shape and cost, without a weight file."""
    model, hub = request.spec.model, build_hub_args(request.spec)
    config, args = AutoConfig.from_pretrained(
        model.name, return_unused_kwargs=True, **hub, **build_model_args(request.spec)
    )
    args |= {name: value for name, value in hub.items() if name in {"code_revision", "trust_remote_code"}}
    dtype = config.dtype or torch.float32 if model.dtype == "auto" else getattr(torch, model.dtype)
    torch.manual_seed(request.spec.seed)
    dummy = AutoModelForCausalLM.from_config(config, dtype=dtype, **args)
    return _spread(dummy) if request.spec.device == "cuda" else dummy


def _spread(model: Any) -> Any:  # noqa: ANN401 - transformers has no types
    """Place the layers as `device_map="auto"` does for a model with weights."""
    whole = list(model._no_split_modules or ())  # noqa: SLF001 - transformers' own "auto" reads it
    memory = get_balanced_memory(model, no_split_module_classes=whole)
    placed = infer_auto_device_map(model, max_memory=memory, no_split_module_classes=whole)
    refuse_offload(placed)
    return dispatch_model(model, placed)


def refuse_offload(placed: Mapping[str, Any]) -> None:
    """Refuse a model with parts that are not on the devices: it would run many times slower, without any warning.

    Args:
        placed: transformers' device map, from the name of a part to its device; empty on a CPU.

    Raises:
        EngineRefusedError: a part is in the machine's memory or on its disk.
    """
    left = [name for name, device in placed.items() if str(device) in {"cpu", "disk"}]
    if left:
        raise EngineRefusedError(
            "GpuOutOfMemory",
            f"{len(left)} of {len(placed)} parts of the model do not fit on the devices: {left[0] or 'all'}",
        )


def _check_padding(pipe: IdPipeline) -> None:
    if pipe.tokenizer.padding_side != "left":
        raise EngineRefusedError("RejectedArguments", "the pipeline pads on the right: generation would continue pads")
