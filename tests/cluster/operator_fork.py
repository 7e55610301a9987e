"""The operator as a fork of a process that has loaded its libraries: three seconds of a core less for each start.

What runs is `infpop operator` with its own arguments, environment and log, which may be changed before it begins, as a
fault would do. `infpop` as a program of its own is started by the tests of the chart and of the images.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from infpop_operator.cli.main import main
from infpop_operator.core.search import ALGORITHMS

Fork = ForkServerProcess
Prepare = Callable[[], None]  # found by its name in the new process, so of a module that can be imported
_LOADED = ("infpop_operator.cli.operator", *(module for module, _ in ALGORITHMS.values()))
_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(list(_LOADED))


def as_it_is() -> None:
    """Change nothing of the operator."""


def fork_operator(argv: Sequence[str], *, environment: Mapping[str, str], log: Path, prepare: Prepare) -> Fork:
    """Start an operator; it does not outlive this process.

    Args:
        argv: its command line.
        environment: all of it.
        log: of what it writes, after what is there.
        prepare: called in the new process before the operator begins.
    """
    fork = _FORKS.Process(target=_run, args=(argv, environment, log, prepare), daemon=True)
    fork.start()
    return fork


def _run(argv: Sequence[str], environment: Mapping[str, str], log: Path, prepare: Prepare) -> None:
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.clear()  # noqa: TID251 - that of the new process
    os.environ.update(environment)  # noqa: TID251
    sys.argv = list(argv)
    prepare()
    main()
