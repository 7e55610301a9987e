"""Logs of several processes: the process that failed first is heard, and nothing that only sounds like a cause."""

import runpy
from pathlib import Path

import pytest

from infpop_runner.engines.errors import EngineBrokenError
from infpop_runner.engines.failures import Device, Evidence, Failed, Phase, Refused, classify, classify_exception

CORE_FAILED = "builtins.RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
DEAD = "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above)."
TRACEBACK = 'Traceback (most recent call last):\n  File "/v/linear.py", line 718, in __init__\n'
WRAPPER = "Exception: WorkerProc initialization failed due to an exception in a background process."
OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 MiB."


def say(process: str, *texts: str) -> str:
    """Return what vLLM 0.11 logs for a process: each line with the process, the level, the time and the file."""
    lines = [line for text in texts for line in text.splitlines()]
    return "".join(f"({process} pid=5) ERROR 02-06 16:34:06 [core.py:946] {line}\n" for line in lines)


def judge(log: str, exception: str = CORE_FAILED, device: Device = "cuda", phase: Phase = "load") -> Refused | Failed:
    """Return the verdict for a log and an exception."""
    return classify(Evidence(exception=exception, log_tail=log, device=device, phase=phase))


@pytest.mark.parametrize(
    ("code", "marks"),
    [
        ("assert all(output_size % tp_size == 0 for output_size in sizes)", ""),
        ("assert self.num_heads % self.tp_size == 0", "           ^^^^^^^^^^^^^^\n"),
        ("assert all(\n        size % get_tensor_model_parallel_world_size() == 0\n    )", "    ~~~~~^^^^^\n"),
    ],
)
def test_a_bare_assertion_is_read_from_its_source_line(code: str, marks: str) -> None:
    """The line under the last frame says what an assertion without a message means (vLLM 0.6 to 0.32, Python 3.13)."""
    source = "".join(f"    {line}\n" for line in code.splitlines())
    found = judge(say("Worker_TP0", f"{TRACEBACK}{source}{marks}AssertionError"))
    assert (found.reason, found.detail) == ("UnsupportedGpuCount", " ".join(code.split()))


def test_a_bare_assertion_in_this_process_is_read_from_its_source_line(tmp_path: Path) -> None:
    """So is one that an engine raises in this process, as a transformers pipeline does."""
    module = tmp_path / "linear.py"
    module.write_text("tp_size = 2\n\nassert all(size % tp_size == 0 for size in (255,))\n")
    with pytest.raises(AssertionError) as raised:
        runpy.run_path(str(module))
    found = classify_exception(raised.value, log_tail="", device="cuda", phase="load")
    assert (found.reason, found.detail) == (
        "UnsupportedGpuCount",
        "assert all(size % tp_size == 0 for size in (255,))",
    )


def test_a_bare_assertion_without_its_source_is_looked_up_in_the_log() -> None:
    """An exception that says nothing is explained by the traceback that was logged of it."""
    log = f"{TRACEBACK}    assert num_heads % tp_size == 0\n           ^^^^^^\nAssertionError\n"
    assert judge(log, "builtins.AssertionError: ").reason == "UnsupportedGpuCount"
    assert judge("", "builtins.AssertionError: ").reason == "EngineCrash"


def test_a_worker_is_heard_before_its_engine_core() -> None:
    """The worker failed; its engine core only reports that it did, whatever comes first in the log."""
    core = say("EngineCore_DP0", f"{TRACEBACK}ValueError: No available memory for the cache blocks.")
    worker = say("Worker_TP1", f"{TRACEBACK}AssertionError: 12 is not divisible by 8")
    assert judge(core + worker).detail == judge(worker + core).detail == "12 is not divisible by 8"


def test_of_two_workers_the_first_is_heard() -> None:
    """The second may have failed because the first did."""
    first = say("Worker_TP1", f"{TRACEBACK}{OUT_OF_MEMORY}")
    second = say("Worker_TP0", f"{TRACEBACK}AssertionError: 12 is not divisible by 8")
    assert judge(first + second).reason == "GpuOutOfMemory"


@pytest.mark.parametrize(
    "aftermath",
    [
        "RuntimeError: [/pytorch/gloo/pair.cc:534] Connection closed by peer [10.0.0.1]:3182",
        "torch.distributed.DistBackendError: NCCL error: remote process exited or there was a network error",
        "torch.distributed.DistNetworkError: failed to recv, got 0 bytes: Connection reset by peer",
        "RuntimeError: cancelled",
        "BrokenPipeError: [Errno 32] Broken pipe",
        WRAPPER,
    ],
)
def test_a_process_that_lost_another_one_is_heard_last(aftermath: str) -> None:
    """An error about the end of another process is no cause, even if it is logged first, and by a worker."""
    log = say("Worker_TP0", f"{TRACEBACK}{aftermath}") + say("EngineCore", f"{TRACEBACK}{OUT_OF_MEMORY}")
    assert judge(log).reason == "GpuOutOfMemory"
    alone = judge(say("Worker_TP0", f"{TRACEBACK}{aftermath}"))
    assert alone.reason == "EngineCrash"
    assert aftermath.partition(": ")[2] in alone.detail


def test_the_last_exception_of_a_process_is_heard() -> None:
    """An engine that handles one failure dies of the next one."""
    log = say("EngineCore", f"{TRACEBACK}{OUT_OF_MEMORY}", f"{TRACEBACK}AssertionError: 12 is not divisible by 8")
    assert judge(log).reason == "UnsupportedGpuCount"


@pytest.mark.parametrize(
    "log",
    [
        # vLLM 0.6: the file without brackets, and torch's own prefix.
        "(VllmWorkerProcess pid=9) ERROR 09-03 12:08:10 multiproc_worker_utils.py:226] {0}\n[rank0]: {0}\n",
        "ERROR 06-19 07:06:13 [core.py:515] {0}\n",  # vLLM 0.8: no name of a process
        "(VllmWorker rank=3 pid=15164) ERROR 06-19 07:06:13 [multiproc_executor.py:527] {0}\n",  # vLLM 0.9
        "\033[1;36m(EngineCore_0 pid=7)\033[0;0m ERROR 08-31 04:18:45 [core.py:718] {0}\r\n",  # vLLM 0.10
        (
            "\033[0;36m(Worker pid=7)\033[0;0m \033[31mERROR\033[0m \033[90m08-31 04:18:45\033[0m "
            "\033[90m[a.py:1]\033[0m {0}"
        ),
        "(RayWorkerWrapper pid=12, ip=10.0.0.4) ERROR 02-06 16:34:06 [worker_base.py:616] {0}\n",
        'Process EngineCore_0:\nTraceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n{0}\n',
    ],
)
def test_every_prefix_of_a_line_is_taken_off(log: str) -> None:
    """The detail is the message alone, whichever version of vLLM wrote its prefix."""
    found = judge(log.format("AssertionError: 25 is not divisible by 4"))
    assert (found.reason, found.detail) == ("UnsupportedGpuCount", "25 is not divisible by 4")


FALSE_FRIENDS = [
    "INFO 02-06 16:33:01 [core.py:95] Initializing with config: tensor_parallel_size=3, must be divisible by 4",
    "WARNING 02-06 16:33:01 [cuda.py:1] CUDA out of memory. Falling back to a smaller batch",
    (
        "/usr/lib/python3/site-packages/torch/cuda/__init__.py:230: UserWarning: RTX 5090 with CUDA capability sm_120 "
        "is not compatible with the current PyTorch installation."
    ),
    (
        "E1128 12:00:00.000000 77 torch/_inductor/select_algorithm.py:1905] [0/0] Runtime error during autotuning: "
        "OutOfMemoryError: out of resource: shared memory. Ignoring this choice."
    ),
    "ERROR 02-06 16:33:01 [repo_utils.py:1] 429 Client Error: Too Many Requests, retrying 1 of 2",
    "[rank0]:[W206 16:34:06.1 ProcessGroupNCCL.cpp:1] Warning: CUDA error: out of memory",
    "W1128 12:00:00.000000 77 a.py:1] torch.OutOfMemoryError: CUDA out of memory.",
    "node:77:99 [0] NCCL INFO Cuda failure 2 'out of memory'",
    (
        "Exception ignored in: <function LLM.__del__>\nTraceback (most recent call last):\n"
        '  File "a.py", line 1, in __del__\n    f()\ntorch.OutOfMemoryError: CUDA out of memory.'
    ),
    "tensor_parallel_size 3: 12 is not divisible by 8",  # printed, and by no exception
]


@pytest.mark.parametrize("line", FALSE_FRIENDS)
def test_what_only_sounds_like_a_cause_decides_nothing(line: str) -> None:
    """A remark, a warning, a recovery or an error at exit does not explain a crash, alone or before another error."""
    assert judge(line).reason == "EngineCrash"
    crash = say("EngineCore", f"{TRACEBACK}KeyError: 'layers.0'")
    assert judge(f"{line}\n{crash}") == judge(f"{crash}\n{line}") == judge(crash)


@pytest.mark.parametrize(
    "text",
    [
        "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
        "builtins.RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
        "builtins.ValueError: hidden size 768 is not divisible by 7",
        "builtins.ValueError: Dimensions of images [3, 5] are not divisible by patch_size=14.",
        "builtins.AssertionError: assert len(cu_seqlens) % 2 == 0",
        "builtins.RuntimeError: The memory format option is not supported",
        "builtins.RuntimeError: operator torchvision::nms is not supported",
        "builtins.TimeoutError: RPC call to sample_tokens timed out.",
        "builtins.RuntimeError: tensor parallel group is not initialized",
        "builtins.KeyError: 'model.layers.0.mlp.experts'",
    ],
)
@pytest.mark.parametrize("phase", ["load", "measure"])
def test_words_alone_prove_nothing(text: str, phase: Phase) -> None:
    """A text that shares words with a known failure stays unknown: it is broken, never infeasible."""
    found = judge("", exception=text, phase=phase)
    assert isinstance(found, Failed)
    assert found.reason in {"EngineCrash", "RunnerError"}
    assert found.detail.endswith("The run's log has the whole text") or found.reason == "EngineCrash"


def test_native_code_is_heard_if_python_says_less() -> None:
    """NCCL names the cause in its own line, and Python only that NCCL failed."""
    log = "(Worker_TP0 pid=5) node:77:99 [0] transport/nvls.cc:157 NCCL WARN Cuda failure 2 'out of memory'\n" + say(
        "Worker_TP0", f"{TRACEBACK}RuntimeError: NCCL error: unhandled cuda error"
    )
    assert judge(log).reason == "GpuOutOfMemory"


def test_an_unknown_failure_shows_the_words_of_its_process() -> None:
    """Where no row knows the text, the detail is the last exception of the first process, and names the log."""
    log = say("Worker_TP0", f"{TRACEBACK}KeyError: 'layers.0'") + say("EngineCore", f"{TRACEBACK}{WRAPPER}")
    assert judge(log, DEAD, phase="measure") == Failed(
        reason="EngineCrash", detail="KeyError: 'layers.0'. The run's log has the whole text"
    )


def test_a_validation_error_is_shown_without_its_frame() -> None:
    """What pydantic adds around a message is left out."""
    text = (
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, "
        "max_model_len must be positive [type=value_error, input_value=ArgsKwargs((), {'a': [1]}), "
        "input_type=ArgsKwargs]\n    For further information visit https://errors.pydantic.dev/2/v/value_error"
    )
    assert judge("", exception=text).detail == "max_model_len must be positive"


@pytest.mark.parametrize(
    ("text", "retry"),
    [
        ("huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url: https://hf.co", "later"),
        ("httpx.ConnectTimeout: timed out", "later"),
        ("builtins.OSError: We couldn't connect to 'https://huggingface.co'. See the docs on offline mode.", "later"),
        ("builtins.OSError: [Errno 5] Input/output error: '/cache'", "later"),
        ("huggingface_hub.errors.GatedRepoError: 403 Client Error.", "never"),
        ("huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.", "never"),
        ("builtins.OSError: [Errno 28] No space left on device: '/cache'", "never"),
        ("safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata", "never"),
        ("builtins.KeyError: 1", None),
    ],
)
def test_a_failure_says_whether_waiting_helps(text: str, retry: str | None) -> None:
    """A busy hub and a slow volume are worth a pause; what only a person can change is not tried again."""
    found = judge("", exception=text)
    assert isinstance(found, Failed)
    assert found.retry == retry


def test_a_download_that_fails_because_the_volume_is_full_is_about_the_volume() -> None:
    """In a chain of causes the row that stands first in the table decides."""
    text = (
        "builtins.OSError: We couldn't connect to 'https://huggingface.co' to load the files.\n"
        "builtins.OSError: [Errno 28] No space left on device: '/cache/x.incomplete'"
    )
    assert judge("", exception=text).reason == "StorageUnavailable"


@pytest.mark.parametrize("reached", ["Loading weights took 5.21 seconds", "GPU KV cache size: 104,384 tokens"])
def test_what_a_process_said_before_it_reached_a_later_step_is_no_cause(reached: str) -> None:
    """A library logged the traceback of an attempt that it gave up; the model was loaded after it (vLLM 0.11)."""
    attempt = say("EngineCore_DP0", f"{TRACEBACK}{OUT_OF_MEMORY}")
    log = f"{attempt}(EngineCore_DP0 pid=5) INFO 02-06 16:33:10 [default_loader.py:268] {reached}\n"
    failed = say("EngineCore_DP0", f"{TRACEBACK}TimeoutError: RPC call to sample_tokens timed out.")
    assert judge(attempt + failed).reason == "GpuOutOfMemory"
    assert judge(log + failed).reason == "EngineCrash"


def test_a_step_that_another_process_reached_excuses_nothing() -> None:
    """One worker lacks memory; the other one has loaded its part later."""
    log = say("Worker_TP0", f"{TRACEBACK}{OUT_OF_MEMORY}")
    log += "(Worker_TP1 pid=6) INFO 02-06 16:33:10 [default_loader.py:268] Loading weights took 5.21 seconds\n"
    assert judge(log).reason == "GpuOutOfMemory"


@pytest.mark.parametrize(
    ("error", "reason"), [("invalid argument", "EngineCrash"), ("out of memory", "GpuOutOfMemory")]
)
def test_a_kernel_that_ends_its_process_is_heard(error: str, reason: str) -> None:
    """An all-reduce prints its error and exits; the engine core sees a dead worker (vLLM 0.11, issue 49101)."""
    said = f"Failed: Cuda error /workspace/csrc/custom_all_reduce.cuh:455 '{error}'"
    died = say("EngineCore", "Worker proc VllmWorker-0 died unexpectedly, shutting down executor.")
    found = judge(f"{said}\n{said}\n{died}", exception=DEAD, phase="measure")
    assert (found.reason, said in found.detail) == (reason, True)


def test_the_class_of_a_cause_in_a_message_is_left_out() -> None:
    """Inductor puts the class of the error that it passes on before its message (torch 2.9)."""
    said = "torch._inductor.exc.InductorError: RuntimeError: Failed to find C compiler. Please specify via CC."
    assert judge(say("EngineCore_DP0", f"{TRACEBACK}{said}")).detail.startswith("Failed to find C compiler. Please")


@pytest.mark.parametrize(
    ("cause", "retry"),
    [
        (OSError("[Errno 30] Read-only file system: '/cache'"), "never"),
        (RuntimeError("503 Server Error: Service Unavailable for url: https://huggingface.co/datasets"), "later"),
        (ValueError("no split"), None),
    ],
)
def test_prompts_of_the_hub_are_waited_for_as_a_model_is(cause: Exception, retry: str | None) -> None:
    """An adapter that names the reason keeps its cause, which says whether waiting helps."""
    error = EngineBrokenError("WorkloadUnavailable", "dataset x")
    error.__cause__ = cause
    found = classify_exception(error, log_tail="", device="cuda", phase="load")
    assert found == Failed(reason="WorkloadUnavailable", detail="dataset x", retry=retry)


@pytest.mark.parametrize(
    "printed",
    [
        # A thread that reports usage, a library that looks for its settings, a prompt that was logged.
        f"Exception in thread Thread-3:\n{TRACEBACK}requests.exceptions.ConnectionError: Max retries exceeded\n",
        f"{TRACEBACK}PermissionError: [Errno 13] Permission denied: '/.config/matplotlib'\n",
        f"INFO 02-06 16:33:30 [logger.py:43] Received request: 'My bug:\n{TRACEBACK}{OUT_OF_MEMORY}\nHelp!'\n",
    ],
)
def test_what_no_named_process_says_is_no_cause_beside_one(printed: str) -> None:
    """The engine core says why it failed, in words that no row knows; other output explains nothing (vLLM 0.11)."""
    failed = say("EngineCore_DP0", f"{TRACEBACK}RuntimeError: shape '[2, 3]' is invalid for input of size 7")
    found = judge(printed + failed)
    assert (found.reason, found.detail.partition(". ")[0]) == (
        "EngineCrash",
        "shape '[2, 3]' is invalid for input of size 7",
    )


def test_the_innermost_of_several_process_names_counts() -> None:
    """Each process puts its name before the lines that it reads from another one (vLLM 0.10.1)."""
    lines = say("VllmWorker TP0", f"{TRACEBACK}{OUT_OF_MEMORY}").splitlines()
    log = "".join(f"(APIServer pid=32) (EngineCore_0 pid=296) {line}\n" for line in lines)
    found = judge(log)
    assert (found.reason, found.detail) == ("GpuOutOfMemory", OUT_OF_MEMORY.partition(": ")[2])
