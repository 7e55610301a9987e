"""Write the commands of InfPop that a message names as this user can run them.

`make quickstart` does not activate `.venv`: `.venv/bin/infpop` works, `infpop` is not found. A message has
a command to copy as `infpop COMMAND` in backticks, after "with", after a colon, or alone; the path is put in where the
message is printed. Elsewhere in a sentence `infpop tune` is only what wrote something.
"""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from infpop_operator.cli.run_command import COMMANDS

_NAME = "infpop"
_FIRST_WORDS = "|".join(sorted({name.split()[0] for name in COMMANDS}))
_NAMED = re.compile(rf"(?:^|(?<=: )|(?<=with )|(?<=`)){_NAME}(?= (?:{_FIRST_WORDS})\b)")


def runnable(text: str) -> str:
    """Return `text` with the commands of InfPop in it as the user of this process can run them."""
    environment = os.environ  # noqa: TID251 - the edge: where programs are found
    return with_program(text, program(sys.argv[0], environment.get("PATH")))


def with_program(text: str, name: str) -> str:
    """Return `text` with `name` in the place of `infpop` in commands to copy."""
    return _NAMED.sub(lambda _: name, text)


def program(started: str, path: str | None) -> str:
    """Return how to start InfPop: by its name if that finds the program that runs, otherwise as it was started.

    Args:
        started: the first word of the command line, as Python has it.
        path: where a shell looks for programs, None for the system's default.
    """
    if Path(started).name != _NAME or not Path(started).is_file():  # a module, a script or a notebook
        return _NAME
    found = shutil.which(_NAME, path=path)
    return _NAME if found is not None and Path(found).samefile(started) else shlex.quote(started)
