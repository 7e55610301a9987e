"""The arguments of `vllm serve MODEL`, for a shell."""

import shlex

from infpop_operator.export.result import ExportedResult


def render_vllm_args(result: ExportedResult) -> str:
    """Return all arguments on one line, each quoted for a POSIX shell: to paste, for `xargs` and for `eval`."""
    return shlex.join(result.values.args) + "\n"
