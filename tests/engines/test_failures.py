"""The table of failures, with messages that the libraries really wrote."""

import pytest

from infpop_runner.contract import InfeasibleReason
from infpop_runner.engines.errors import EngineBrokenError, EngineRefusedError
from infpop_runner.engines.failures import (
    Device,
    Evidence,
    Failed,
    Phase,
    Refused,
    classify,
    classify_exception,
    describe_exception,
)

CORE_FAILED = (
    "builtins.RuntimeError: Engine core initialization failed. See root cause above. "
    "Failed core proc(s): {'EngineCore': 1}"
)
ENGINE_DEAD = (
    "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. "
    "See stack trace (above) for the root cause."
)

CUDA_OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total capacity of 39.39 GiB "
    "of which 150.31 MiB is free."
)
SAMPLER_OOM = (
    "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please try lowering "
    "`max_num_seqs` or `gpu_memory_utilization` when initializing the engine."
)
NO_BLOCKS = (
    "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing "
    "the engine."
)
LONG_MODEL = (
    "ValueError: To serve at least one request with the model's max seq len (16384), 8.0 GiB KV cache is needed, which "
    "is larger than the available KV cache memory (3.2 GiB)."
)
HEADS = (
    "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig\n  Value error, Total number of "
    "attention heads (4) must be divisible by tensor parallel size (3). [type=value_error]"
)
NO_KERNEL = "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device"
BFLOAT16 = (
    "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla V100-SXM2-32GB "
    "GPU has compute capability 7.0."
)
NOT_CLEAN = (
    "ValueError: Free memory on device cuda:0 (12.5/39.39 GiB) on startup is less than desired GPU memory utilization "
    "(0.85, 33.48 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
)
UNKNOWN_ARGUMENT = "builtins.TypeError: EngineArgs.__init__() got an unexpected keyword argument 'nonsense'"
BAD_VALUE = (
    "pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig\nblock_size\n  Input should be a "
    "valid integer, unable to parse string as an integer"
)
TOO_LONG = (
    "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, User-specified "
    "max_model_len (100000) is greater than the derived max_model_len (max_position_embeddings=2048.0)"
)
HF_ARGUMENT = (
    "builtins.ValueError: The following `model_kwargs` are not used by the model: ['nonsense'] (note: typos in the "
    "generate arguments will also show up in this list)"
)
BAD_BACKEND = "ValueError: Invalid attention backend for NVIDIA H200: FLASH"
CUBLAS = "builtins.RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
NO_REPOSITORY = (
    "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name'"
)
NO_MODEL = (
    "builtins.OSError: nowhere/nothing is not a local folder and is not a valid model identifier listed on "
    "'https://huggingface.co/models'"
)
NO_CONFIG = "builtins.OSError: /models/empty does not appear to have a file named config.json."
HOST_MEMORY = (
    "builtins.RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"
)


@pytest.mark.parametrize(
    ("exception", "log_tail", "device", "phase", "reason"),
    [
        (CUDA_OOM, "", "cuda", "measure", "GpuOutOfMemory"),
        (CORE_FAILED, f"(EngineCore pid=7) ERROR {CUDA_OOM}", "cuda", "load", "GpuOutOfMemory"),
        (CORE_FAILED, f"(EngineCore pid=7) ERROR {SAMPLER_OOM}", "cuda", "load", "GpuOutOfMemory"),
        (CORE_FAILED, f"(EngineCore pid=7) ERROR {NO_BLOCKS}", "cuda", "load", "GpuOutOfMemory"),
        (CORE_FAILED, f"(EngineCore pid=7) ERROR {LONG_MODEL}", "cuda", "load", "GpuOutOfMemory"),
        (ENGINE_DEAD, f"(Worker_TP1 pid=9) ERROR {CUDA_OOM}", "cuda", "measure", "GpuOutOfMemory"),
        (HOST_MEMORY, "", "cpu", "load", "GpuOutOfMemory"),
        (HEADS, "", "cuda", "load", "HeadsNotDivisible"),
        (CORE_FAILED, NO_KERNEL, "cuda", "load", "IncompatibleGPU"),
        (NO_KERNEL, "", "cuda", "measure", "IncompatibleGPU"),
        (BFLOAT16, "", "cuda", "load", "IncompatibleGPU"),
        (UNKNOWN_ARGUMENT, "", "cpu", "load", "RejectedArguments"),
        (BAD_VALUE, "", "cpu", "load", "RejectedArguments"),
        (TOO_LONG, "", "cpu", "load", "RejectedArguments"),
        (HF_ARGUMENT, "", "cpu", "load", "RejectedArguments"),
        (CORE_FAILED, f"(EngineCore pid=7) ERROR {BAD_VALUE}", "cpu", "load", "RejectedArguments"),
        (CORE_FAILED, f"(EngineCore pid=7) ERROR {BAD_BACKEND}", "cuda", "load", "RejectedArguments"),
        (CUBLAS, "", "cuda", "measure", "GpuOutOfMemory"),
        (CORE_FAILED, f"ERROR {HOST_MEMORY}\nERROR {CUDA_OOM}", "cuda", "load", "GpuOutOfMemory"),
    ],
)
def test_an_infeasible_configuration_is_reported_to_the_search(
    exception: str, log_tail: str, device: Device, phase: Phase, reason: str
) -> None:
    """A failure caused by the configuration is infeasible, with the decisive line as its detail."""
    outcome = classify(Evidence(exception=exception, log_tail=log_tail, device=device, phase=phase))
    assert isinstance(outcome, Refused)
    assert outcome.reason == reason
    assert outcome.largest_only == (reason == "GpuOutOfMemory")
    assert 0 < len(outcome.detail) <= 600


@pytest.mark.parametrize(
    ("exception", "log_tail", "device", "phase", "reason"),
    [
        (NOT_CLEAN, "", "cuda", "load", "GpuNotClean"),
        (CORE_FAILED, f"(EngineCore pid=7) ERROR {NOT_CLEAN}", "cuda", "load", "GpuNotClean"),
        (HOST_MEMORY, "", "cuda", "load", "HostOutOfMemory"),
        (NO_REPOSITORY, "", "cpu", "load", "ModelUnavailable"),
        (NO_MODEL, "", "cpu", "load", "ModelUnavailable"),
        (NO_CONFIG, "", "cpu", "load", "ModelUnavailable"),
        (CORE_FAILED, "", "cpu", "load", "EngineCrash"),
        (ENGINE_DEAD, "", "cpu", "measure", "EngineCrash"),
        (CORE_FAILED, f"ERROR {CUDA_OOM}\nERROR {NOT_CLEAN}", "cuda", "load", "GpuNotClean"),
        (CORE_FAILED, f"\033[1;36m(EngineCore pid=7)\033[0;0m WARNING 11-21 {CUDA_OOM}", "cuda", "load", "EngineCrash"),
        (ENGINE_DEAD, f"(EngineCore pid=7) ERROR {BAD_VALUE}", "cpu", "measure", "EngineCrash"),
        (ENGINE_DEAD, "INFO nothing of interest", "cuda", "measure", "EngineCrash"),
        ("builtins.ModuleNotFoundError: No module named 'vllm'", "", "cpu", "load", "RunnerError"),
        ("builtins.ZeroDivisionError: division by zero", "", "cpu", "measure", "RunnerError"),
        (UNKNOWN_ARGUMENT, "", "cpu", "measure", "RunnerError"),
    ],
)
def test_a_broken_run_is_retried_and_never_reported_to_the_search(
    exception: str, log_tail: str, device: Device, phase: Phase, reason: str
) -> None:
    """A failure of the environment, and any that no rule matches, is broken."""
    outcome = classify(Evidence(exception=exception, log_tail=log_tail, device=device, phase=phase))
    assert isinstance(outcome, Failed)
    assert outcome.reason == reason
    assert outcome.detail


LOADED = f"{CORE_FAILED} with pydantic_core._pydantic_core.ValidationError: 1 validation error"


@pytest.mark.parametrize(
    ("exception", "log_tail", "device", "phase", "reason"),
    [
        (f"{CUDA_OOM}\n{NOT_CLEAN}", "", "cuda", "load", "GpuOutOfMemory"),  # refusals before environment
        (f"{NOT_CLEAN}\n{CUDA_OOM}", "", "cuda", "load", "GpuOutOfMemory"),  # wherever they occur
        (f"{HEADS}\n{CUDA_OOM}", "", "cuda", "load", "GpuOutOfMemory"),  # in the order of the rules
        (f"{NO_CONFIG}\n{HOST_MEMORY}", "", "cuda", "load", "HostOutOfMemory"),
        (f"{HEADS}\n{HOST_MEMORY}", "", "cpu", "load", "HeadsNotDivisible"),
        (HEADS, "", "cuda", "load", "HeadsNotDivisible"),  # although pydantic says it
        (f"{CORE_FAILED}\n{NOT_CLEAN}", f"ERROR {CUDA_OOM}", "cuda", "load", "GpuNotClean"),  # exception before log
        (CORE_FAILED, f"ERROR {BAD_VALUE}\nERROR {CUDA_OOM}", "cuda", "load", "GpuOutOfMemory"),  # known before refused
        (CORE_FAILED, f"ERROR {CUDA_OOM}\nERROR {BAD_VALUE}", "cuda", "load", "GpuOutOfMemory"),
        (CORE_FAILED, f"ERROR {NOT_CLEAN}\nERROR {CUDA_OOM}", "cuda", "load", "GpuOutOfMemory"),  # last of a log
        (CORE_FAILED, f"ERROR {NO_KERNEL}\nERROR {CUDA_OOM}\nERROR {NO_KERNEL}", "cuda", "load", "IncompatibleGPU"),
        (LOADED, f"ERROR {BAD_BACKEND}", "cuda", "load", "RejectedArguments"),
        (ENGINE_DEAD, f"ERROR {BAD_BACKEND}", "cuda", "load", "EngineCrash"),  # only if the engine did not start
        (f"builtins.ImportError: x\n{CORE_FAILED}", "", "cuda", "load", "EngineCrash"),
        (f"{BAD_VALUE}\n{CORE_FAILED}", "", "cuda", "measure", "EngineCrash"),
    ],
)
def test_of_several_causes_the_rules_choose(
    exception: str, log_tail: str, device: Device, phase: Phase, reason: str
) -> None:
    """An exception takes precedence over a log, a refusal over the environment, and the last log match counts."""
    outcome = classify(Evidence(exception=exception, log_tail=log_tail, device=device, phase=phase))
    assert outcome.reason == reason


@pytest.mark.parametrize(
    ("level", "reason"),
    [
        ("DEBUG", "EngineCrash"),
        ("INFO", "EngineCrash"),
        ("WARNING", "EngineCrash"),
        ("ERROR", "GpuOutOfMemory"),
        ("CRITICAL", "GpuOutOfMemory"),
        ("", "GpuOutOfMemory"),
    ],
)
def test_what_a_process_merely_remarks_is_not_a_cause(level: str, reason: str) -> None:
    """The level of a line decides whether the line can name a cause; a line without a level can."""
    log = f"(EngineCore pid=7) {level} 11-21 10:00:00 [worker.py:1] {CUDA_OOM}\nINFO bye"
    outcome = classify(Evidence(exception=CORE_FAILED, log_tail=log, device="cuda", phase="load"))
    assert outcome.reason == reason


def test_the_end_of_the_log_goes_with_a_crash() -> None:
    """An unknown failure without any error in the log shows the log's last line, and says where the rest is."""
    outcome = classify(Evidence(exception=ENGINE_DEAD, log_tail="x\nlast words\n", device="cuda", phase="measure"))
    assert outcome.detail == (
        "EngineCore encountered an issue. See stack trace (above) for the root cause; its last output: last words. "
        "The run's log has the whole text"
    )
    alone = classify(Evidence(exception="builtins.KeyError: 1", log_tail="log", device="cuda", phase="measure"))
    assert alone == Failed(reason="RunnerError", detail="KeyError: 1. The run's log has the whole text")


def test_the_cause_that_was_hidden_on_purpose_is_not_read() -> None:
    """`raise ... from None` hides the earlier exception; without it the handled exception is read too."""
    hidden, shown = RuntimeError("outer"), RuntimeError("outer")
    hidden.__context__, hidden.__suppress_context__ = ValueError("CUDA out of memory"), True
    shown.__context__ = ValueError("CUDA out of memory")
    assert describe_exception(hidden) == "builtins.RuntimeError: outer"
    assert describe_exception(shown) == "builtins.RuntimeError: outer\nbuiltins.ValueError: CUDA out of memory"


@pytest.mark.parametrize(
    ("reason", "largest_only", "expected"),
    [("GpuOutOfMemory", False, True), ("RejectedArguments", False, False), ("RejectedArguments", True, True)],
)
def test_running_out_of_memory_says_nothing_of_smaller_batches(
    reason: InfeasibleReason,
    largest_only: bool,  # noqa: FBT001 - both ways of it
    expected: bool,  # noqa: FBT001
) -> None:
    """An adapter's refusal keeps its statement on smaller batches; out-of-memory always concerns only the largest."""
    error = EngineRefusedError(reason, "d" * 700, largest_only=largest_only)
    outcome = classify_exception(error, log_tail="", device="cuda", phase="measure")
    assert outcome == Refused(reason=reason, detail="d" * 600, largest_only=expected)


def test_a_log_is_no_evidence_against_an_explicit_exception() -> None:
    """An earlier log line of another process does not make an unrelated exception infeasible."""
    evidence = Evidence(
        exception="builtins.ZeroDivisionError: division by zero", log_tail=CUDA_OOM, device="cuda", phase="measure"
    )
    assert isinstance(classify(evidence), Failed)


def test_the_detail_is_the_decisive_line_of_a_long_log() -> None:
    """The detail starts with the decisive line, not with the start of the log."""
    log = "\n".join([*(f"INFO step {number}" for number in range(500)), f"ERROR {NO_BLOCKS}", "INFO bye"])
    outcome = classify(Evidence(exception=CORE_FAILED, log_tail=log, device="cuda", phase="load"))
    assert outcome.detail.startswith("No available memory for the cache blocks. Try")


def test_the_whole_chain_of_an_exception_is_read() -> None:
    """The cause decides, even if a wrapper was raised from it."""
    wrapper = RuntimeError("could not start")
    wrapper.__cause__ = ValueError(
        "Total number of attention heads (14) must be divisible by tensor parallel size (4)."
    )
    outcome = classify_exception(wrapper, log_tail="", device="cuda", phase="load")
    assert isinstance(outcome, Refused)
    assert outcome.reason == "HeadsNotDivisible"


def test_a_circular_chain_ends() -> None:
    """Exceptions that name each other as their cause are each read once."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert describe_exception(first) == "builtins.ValueError: first\nbuiltins.ValueError: second"


def test_an_adapter_that_knows_the_reason_is_believed() -> None:
    """A reason from an engine's adapter is not derived from its text again."""
    refused = classify_exception(
        EngineRefusedError("RejectedArguments", "CUDA out of memory", largest_only=True),
        log_tail="",
        device="cpu",
        phase="load",
    )
    assert refused == Refused(reason="RejectedArguments", detail="CUDA out of memory", largest_only=True)
    broken = classify_exception(
        EngineBrokenError("WorkloadUnavailable", "no file"), log_tail="", device="cpu", phase="load"
    )
    assert broken == Failed(reason="WorkloadUnavailable", detail="no file")


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        ("RuntimeError: CAS service error : Reqwest Error: HTTP status client error (403 Forbidden)", "never"),
        (
            "RuntimeError: CAS service error : Reqwest Error: HTTP status server error (503 Service Unavailable)",
            "later",
        ),
        ("requests.exceptions.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "never"),
        ("requests.exceptions.SSLError: [SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred", "later"),
    ],
)
def test_a_hub_is_asked_again_only_if_waiting_helps(error: str, retry: str) -> None:
    """A refusal stays; a busy hub or a broken connection does not (hf_xet 1.1, requests 2.32)."""
    found = classify(Evidence(exception=error, log_tail="", device="cuda", phase="load"))
    assert isinstance(found, Failed)
    assert (found.reason, found.retry) == ("ModelUnavailable", retry)
