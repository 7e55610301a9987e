"""Where prompts come from: a set that ships with the runner, a file, a dataset, or random ids.

Gives texts (or what is needed to draw ids) and a hash of exactly the text that is used. Tokenising is the engine's
part: it has the model's tokenizer.
"""

from infpop_runner.workload.errors import WorkloadError
from infpop_runner.workload.sources import load_prompts

__all__ = ["WorkloadError", "load_prompts"]
