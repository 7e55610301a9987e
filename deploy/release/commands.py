"""Run the programs of a release."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from release.errors import ReleaseError

_LINES = 15  # of a failed program's output, in the error


def run(*command: str, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a program and return its standard output.

    Args:
        command: the program and its arguments.
        folder: the working directory; by default this process's.
        environment: replaces this process's environment.

    Raises:
        ReleaseError: the program is missing or failed; the message has the end of its output.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=dict(os.environ) if environment is None else dict(environment),  # noqa: TID251 - the edge
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise _missing(command) from error
    if done.returncode != 0:
        raise _failed(command, done.stdout + done.stderr)
    return done.stdout


def run_aloud(*command: str) -> str:
    """Run a program, show its output as it comes, and return it, both streams of it.

    Raises:
        ReleaseError: the program is missing or failed; the message has the end of its output.
    """
    _show(f"+ {' '.join(command)}\n")
    output = ""
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            for line in process.stdout or ():
                _show(line)
                output += line
    except FileNotFoundError as error:
        raise _missing(command) from error
    if process.returncode != 0:
        raise _failed(command, output)
    return output


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _missing(command: tuple[str, ...]) -> ReleaseError:
    return ReleaseError(f"{command[0]} is not on the PATH. Install it, or name it: the top of the Makefile says how.")


def _failed(command: tuple[str, ...], output: str) -> ReleaseError:
    end = "\n".join(output.strip().splitlines()[-_LINES:])
    return ReleaseError(f"{' '.join(command)} failed:\n{end}")
