"""Play a thousand random landscapes through `decide` with the search `landscape`, and time proposals on large spaces.

    python benchmarks/bench_synthetic.py [--landscapes 1000] [--first 0]

Each configuration may be tried once, a search ends with its budget or with its space, and nothing else ends it; a
landscape that breaks this is printed. `tests/search/test_synthetic.py` plays a few of them.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from factories.search_requests import after, make_request, measured
from infpop_operator.core.search import propose
from infpop_operator.core.space import cells
from infpop_operator.core.study import ExtraParameter, SearchSpace
from search.test_synthetic import searched

RESULTS = Path(__file__).parent / "results" / "landscape-synthetic.json"
LARGE = tuple(
    SearchSpace(
        gpu_counts=(1, 2, 4, 8, 16),
        batch_sizes=tuple(2**power for power in range(13)),
        extra=tuple(ExtraParameter(name=name, values=tuple(range(1, count + 1))) for name, count in extra),
    )
    for extra in ((), (("a", 4),), (("a", 5), ("b", 3)), (("a", 8), ("b", 8)))
)


def main() -> None:
    """Play, time, print and write."""
    parser = argparse.ArgumentParser(description="Play random landscapes through the search `landscape`.")
    parser.add_argument("--landscapes", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    ends: dict[str, int] = {}
    broken: list[int] = []
    trials = 0
    for seed in range(arguments.first, arguments.first + arguments.landscapes):
        tried, budget, ended = searched(seed)
        trials += len(tried)
        ends[str(ended)] = ends.get(str(ended), 0) + 1
        if len(set(tried)) < len(tried) or ended not in {"MaxTrialsReached", "SpaceExhausted", "GpuOutOfMemory"}:
            broken.append(seed)
        if (ended == "MaxTrialsReached") != (len(tried) == budget):
            broken.append(seed)
    content = {
        "landscapes": arguments.landscapes,
        "trials": trials,
        "ends": ends,
        "broken": broken,
        "milliseconds_of_a_proposal": {str(len(cells(space))): round(milliseconds(space), 1) for space in LARGE},
    }
    print(json.dumps(content, indent=1))
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


def milliseconds(space: SearchSpace) -> float:
    """Return the median CPU time of a proposal after 1 to 30 trials."""
    request = make_request(space=space, open_cells=cells(space))
    times: list[float] = []
    for index in range(30):
        start = time.process_time()
        cell = propose(replace(request, index=index))
        times.append(time.process_time() - start)
        if cell is not None:
            request = after(request, measured(cell, -100.0 * cell.gpu_count**0.5 * (1 - 1 / (1 + cell.batch_size))))
    return 1000 * statistics.median(times)


if __name__ == "__main__":
    main()
