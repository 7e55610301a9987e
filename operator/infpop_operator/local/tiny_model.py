"""The small model with random weights that InfPop writes itself, so that a first study needs no download.

The model name `infpop/tiny-llama` in a study refers to a directory in the user's cache. The code that writes it is in
the runner's package; this module runs it as a program, because the operator's package must not load an engine.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from infpop_operator.core.errors import ExecutorError
from infpop_operator.core.installing import install_command

NAME = "infpop/tiny-llama"
WRITER = (sys.executable, "-m", "infpop_runner.engines.tiny_model")
_TIMEOUT_S = 300.0
_POLL_S = 0.1
_SHOWN_LINES = 3


def tiny_model_directory(environment: Mapping[str, str]) -> Path:
    """Return the directory of the tiny model for the user with this environment; it may not exist yet."""
    cache = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".cache")
    return Path(cache) / "infpop" / "models" / "tiny-llama"


def has_model(directory: Path) -> bool:
    """Return whether `directory` has a complete model; an incomplete one is never there."""
    return (directory / "config.json").is_file()


def write_tiny_model(directory: Path, *, is_interrupted: Callable[[], bool] = lambda: False) -> None:
    """Write the model into `directory` unless it exists; the directory appears only when the model is complete.

    Raises:
        ExecutorError: the directory contains something else, or the model cannot be written.
        KeyboardInterrupt: `is_interrupted` returned True; nothing was written.
    """
    if has_model(directory):
        return
    absent = [module for module in ("torch", "transformers") if find_spec(module) is None]
    if absent:
        raise ExecutorError(f"{', '.join(absent)}: not installed here. Run: {install_command('hf')}.")
    if directory.is_dir() and any(directory.iterdir()):
        raise ExecutorError(f"{directory}: is not empty and contains no model. Empty it or name another directory.")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".tiny-llama-") as draft:
            _write(Path(draft) / "model", is_interrupted)
            _publish(Path(draft) / "model", directory)
    except OSError as error:
        message = f"{directory}: the tiny model cannot be written there ({error.strerror}). Name another directory."
        raise ExecutorError(message) from error


def _write(directory: Path, is_interrupted: Callable[[], bool]) -> None:
    """Run the writer in its own session, so that this process handles Ctrl-C and the writer prints no traceback."""
    with subprocess.Popen(
        [*WRITER, str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output = _wait_for_output(process, is_interrupted)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        lines = output.decode(errors="replace").strip().splitlines()
        raise ExecutorError("the tiny model cannot be written: " + " | ".join(lines[-_SHOWN_LINES:]))


def _wait_for_output(process: subprocess.Popen[bytes], is_interrupted: Callable[[], bool]) -> bytes:
    for _ in range(int(_TIMEOUT_S / _POLL_S)):
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_POLL_S)[0]
        if is_interrupted():
            raise KeyboardInterrupt
    raise ExecutorError(f"the tiny model was not written within {_TIMEOUT_S:.0f} s")


def _publish(draft: Path, directory: Path) -> None:
    """Move the complete model into place, unless another process has written it meanwhile."""
    try:
        draft.rename(directory)
    except OSError:
        if not has_model(directory):
            raise
