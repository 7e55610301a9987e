"""vLLM itself reads an exported command line and Ray's keyword arguments as the same engine."""

import json
import shlex
import subprocess
import sys

import pytest

from export.results import ray_application, with_args
from infpop_operator.export.formats import render_result

pytestmark = pytest.mark.engine
ARGS = {
    "async_scheduling": "true",
    "block_size": "32",
    "cudagraph_capture_sizes": "[1, 2, 4]",
    "enable_prefix_caching": "false",
    "hf_overrides": '{"a": {"b": [1, null, true]}}',
    "kv_cache_dtype": "fp8",
    "quantization": "fp8",
    "revision": "0123a",
    "speculative_config": '{"method": "ngram", "num_speculative_tokens": 4}',
}
# In a process of its own: importing vLLM takes half a minute and warns.
PROGRAM = """
import json, sys
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser
words, keywords = json.load(sys.stdin)
parser = AsyncEngineArgs.add_cli_args(FlexibleArgumentParser())
ways = AsyncEngineArgs.from_cli_args(parser.parse_args(["--model=m", *words])), AsyncEngineArgs(model="m", **keywords)
json.dump([[repr(getattr(way, name)) for name in keywords] for way in ways], sys.stdout)
"""


def test_vllm_reads_both_forms_of_the_arguments_alike() -> None:
    """The parser of `vllm serve` takes every argument, with the value that Ray gives as a keyword argument."""
    result = with_args(ARGS)
    words = shlex.split(render_result(result, "vllm-args"))
    (config,) = ray_application(result)["args"]["llm_configs"]
    keywords = config["engine_kwargs"]
    assert {*ARGS, "tensor_parallel_size", "max_num_seqs", "max_model_len"} <= keywords.keys()
    given = json.dumps([words, keywords])
    done = subprocess.run([sys.executable, "-c", PROGRAM], input=given, capture_output=True, check=True, text=True)
    from_line, from_keywords = json.loads(done.stdout.splitlines()[-1])
    assert from_line == from_keywords
    assert "{'method': 'ngram', 'num_speculative_tokens': 4}" in from_line
