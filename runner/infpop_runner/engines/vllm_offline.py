"""vLLM's offline `LLM` as an engine.

Prompts go in as token ids; sampling is greedy and returns exactly `max_new_tokens` ids per sequence and no text. One
`generate` call is one pass. The batch size is vLLM's own limit on running sequences, and more requests are always
queued. A sequence's time in the batch comes from the engine's own clock, from scheduled to last token. Statistics stay
on: without them neither these times nor preemptions are known.
"""

import dataclasses
import gc
import inspect
import multiprocessing
import multiprocessing.connection
import threading
from typing import Any, get_args

import torch
import vllm
from transformers import AutoTokenizer
from vllm import LLM, ModelRegistry, SamplingParams, envs
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.models import registry
from vllm.v1.engine.exceptions import EngineDeadError

from infpop_runner.contract import with_overrides
from infpop_runner.engines.batch_limit import LIMIT_KEY
from infpop_runner.engines.model_check import check_length, check_model, read_config, vllm_known
from infpop_runner.engines.model_facts import model_facts
from infpop_runner.engines.prompt_set import PromptSet, tokenise
from infpop_runner.engines.protocol import AboutEngine, LoadRequest, Scalar
from infpop_runner.engines.user_args import (
    engine_values,
    refuse_unknown,
    refuse_unknown_keys,
    trusts_remote_code,
)
from infpop_runner.engines.vllm_args import build_engine_args, build_tokenizer_args
from infpop_runner.engines.vllm_readings import CACHE_HITS, PREEMPTIONS, read_counter, read_intervals
from infpop_runner.measure import FULL_BATCHES_PER_PASS, Block, PassOutcome, pass_length, steady_batch_seconds

CLOSE_SECONDS = 0.5  # for an orderly end vLLM 0.32 takes more than the 5 s after which it kills its processes itself
MISSING = {
    "batch_seconds_p50": "NoRequestTimes",
    "batch_seconds_p95": "NoRequestTimes",
    "concurrency_peak": "NoTimes",
    "gpu_memory_peak_bytes": "NoGpu",
    "pad_ratio": "NoPadding",
}


class VllmEngine:
    """A loaded `LLM`."""

    def __init__(self, llm: Any, request: LoadRequest, prompts: PromptSet, args: dict[str, Scalar]) -> None:  # noqa: ANN401 - vLLM has no types
        self._llm = llm
        self._request = request
        self._prompts = prompts
        self._limited = "scheduler_cls" in args
        config = llm.llm_engine.vllm_config.model_config
        self.about = AboutEngine(
            version=vllm.__version__,
            torch_version=torch.__version__,
            engine_args=args,
            device_mode="tensor-parallel" if request.spec.gpu_count > 1 else "single-device",
            model=model_facts(config.hf_config, dtype=config.dtype, trust_remote_code=trusts_remote_code(request.spec)),
            prompt_tokens_mean=prompts.mean_tokens,
            missing_reasons=MISSING
            if request.spec.device == "cpu"
            else MISSING | {"gpu_memory_peak_bytes": "NvmlFailed"},
            fewest_batches=FULL_BATCHES_PER_PASS,
        )

    def warm_up(self, batch_size: int) -> None:
        """Generate for one full batch of other prompts, and discard the output."""
        self._generate(self._inputs(self._prompts.of_warm_up(batch_size)), self._sampling(batch_size))

    def run_pass(self, batch_size: int) -> PassOutcome:
        """Time one `generate` call with all prompts of a pass; inputs are built before and outputs read after it."""
        return self._run(self._prompts.of_pass(batch_size), batch_size, needs_times=self._limited)

    def run_block(self, batch_size: int, first: int, batches: int) -> Block:
        """Time one `generate` call with some batches; the others would add batches between its ramp-up and its tail."""
        prompts = self._prompts.of_block(batch_size, first, batches)
        outcome = self._run(prompts, batch_size, needs_times=True)
        left = pass_length(samples=len(self._prompts.distinct), batch_size=batch_size) // batch_size - batches
        added = left * steady_batch_seconds(outcome.intervals or (), batch_size=batch_size) if left else 0.0
        length_ratio = self._prompts.queue_length_ratio(prompts, batch_size)
        return Block(outcome=outcome, pass_seconds=outcome.seconds + added, length_ratio=length_ratio)

    def _run(self, prompts: list[tuple[int, ...]], batch_size: int, *, needs_times: bool) -> PassOutcome:
        inputs = self._inputs(prompts)
        sampling = self._sampling(batch_size)
        preempted, cached = self._counter(PREEMPTIONS), self._counter(CACHE_HITS)
        start = self._request.clock()
        outputs = self._generate(inputs, sampling)
        seconds = self._request.clock() - start
        stats = [output.metrics for output in outputs]
        return PassOutcome(
            seconds=seconds,
            generated=tuple(len(output.outputs[0].token_ids) for output in outputs),
            intervals=read_intervals(stats, version=vllm.__version__, needed=needs_times),
            preemptions=self._counter(PREEMPTIONS) - preempted,
            cache_hits=self._counter(CACHE_HITS) - cached,
        )

    def memory_peak_bytes(self) -> int | None:
        """Return the memory in use on the fullest device: vLLM allocates its memory at the start and keeps it."""
        return self._request.memory_used_bytes()

    def clear_memory(self) -> bool:
        """Return False: an engine core ends with its first out-of-memory, and nothing resets what NVML reports."""
        return False

    def close(self) -> None:
        """End the engine's process without an orderly shutdown: the driver frees the memory of a dead process.

        The engine's workers may outlive it; the caller ends them, as it tracks all children.
        """
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown(timeout=CLOSE_SECONDS)
            self._llm = None
            gc.collect()

    def _generate(self, inputs: list[dict[str, list[int]]], sampling: SamplingParams) -> list[Any]:
        outputs: list[Any] = self._llm.generate(inputs, sampling, use_tqdm=False)
        return outputs

    def _inputs(self, prompts: Any) -> list[dict[str, list[int]]]:  # noqa: ANN401 - any sequence of id sequences
        return [{"prompt_token_ids": list(ids)} for ids in prompts]

    def _sampling(self, batch_size: int) -> SamplingParams:
        tokens = self._request.spec.workload.max_new_tokens
        return SamplingParams(
            temperature=0,
            max_tokens=tokens,
            min_tokens=tokens,
            ignore_eos=True,
            detokenize=False,
            extra_args={LIMIT_KEY: batch_size} if self._limited else None,
        )

    def _counter(self, name: str) -> int:
        return read_counter(self._llm.get_metrics(), name, version=vllm.__version__)


def load(request: LoadRequest) -> VllmEngine:
    """Check and build the arguments, tokenise the prompts, and return the loaded engine.

    Raises:
        EngineRefusedError: an argument is pinned, unknown or not JSON, this vLLM does not know the model, or its
            prompts are unusable or too long.
    """
    spec = request.spec
    values = engine_values(spec)
    refuse_unknown(spec, llm_arguments(), f"vLLM {vllm.__version__}")
    refuse_unknown_keys(values, config_keys(), f"vLLM {vllm.__version__}")
    config = read_config(spec.model.name, build_tokenizer_args(spec))
    config = None if config is None else with_overrides(config, values.get("hf_overrides"))
    check_model(spec, config, vllm_known(vllm.__version__, registry, ModelRegistry.get_supported_archs))
    tokenizer = AutoTokenizer.from_pretrained(spec.model.name, **build_tokenizer_args(spec))
    prompts = tokenise(request.prompts, tokenizer, seed=spec.seed)
    if not getattr(envs, "VLLM_ALLOW_LONG_MAX_MODEL_LEN", False):
        check_length(spec, config, prompts.longest)
    args = build_engine_args(spec, batch_sizes=request.batch_sizes, longest_prompt=prompts.longest)
    llm = LLM(**{**args, **values})
    _raise_when_core_dies(llm.llm_engine.engine_core)
    return VllmEngine(llm, request, prompts, args)


def llm_arguments() -> frozenset[str]:
    """Return the names of the arguments that this version's `LLM` takes."""
    own = inspect.signature(LLM.__init__).parameters
    return frozenset(own) | frozenset(field.name for field in dataclasses.fields(EngineArgs))


def config_keys() -> dict[str, frozenset[str]]:
    """Return the keys of each argument of this version's `LLM` that is a configuration object."""
    # A type that is written as text may need a name that only a type checker has; such an argument is not checked.
    types = {field.name: field.type for field in dataclasses.fields(EngineArgs)}
    found = {name: [kind for kind in (given, *get_args(given)) if is_config(kind)] for name, given in types.items()}
    return {
        name: frozenset(field.name for kind in kinds for field in dataclasses.fields(kind) if field.init)
        for name, kinds in found.items()
        if kinds
    }


def is_config(kind: object) -> bool:
    """Return whether a type is one of vLLM's configuration classes."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _raise_when_core_dies(client: Any) -> None:  # noqa: ANN401 - vLLM has no types
    """Make a waiting `generate` raise when the engine's process is gone.

    A killed engine core sends no message, and vLLM 0.32 then waits forever for its output (`SyncMPClient` ends the
    thread that would deliver it). Without that queue, or with the engine in this process, this does nothing, and only
    the measuring time-out remains.
    """
    outputs = getattr(client, "outputs_queue", None)
    cores = [process.sentinel for process in multiprocessing.active_children()]
    if outputs is None or not cores:
        return

    def watch() -> None:
        multiprocessing.connection.wait(cores)
        outputs.put_nowait(EngineDeadError())

    threading.Thread(target=watch, name="vllm-core-watch", daemon=True).start()
