"""Load the prompts of a workload: from a set that ships with the runner, a file, a dataset, or random ids.

Returns texts (or the inputs for drawing ids), and a hash of exactly the text in use. The engine tokenises the texts,
because it has the model's tokenizer.
"""

from infpop_runner.workload.errors import WorkloadError
from infpop_runner.workload.sources import load_prompts

__all__ = ["WorkloadError", "load_prompts"]
