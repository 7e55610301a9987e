"""Is the published number true, and is "better than the baseline"? 1,000 simulated studies through `decide`.

    python benchmarks/bench_confirm.py [--studies 1000]

Random searches of 20 of 24 cells in worlds with noisy engine loads (`noisy_studies.py`), each once with
`budget.confirm` and once without: 2 % and 5 % as the standard deviation of a load, and a quarter of the studies on each
of four shapes of landscape. The runs of the search are written down (`--whole`: made by `decide` as well, which takes
much longer), all others follow from `decide`. `--choosing-loads` and `--number-loads` try other numbers of loads than
those of `infpop_operator.core.confirmation`; then nothing is written.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from infpop_operator.core import confirmation
from noisy_studies import (
    SHAPES,
    Published,
    Shape,
    drive_to_end,
    noisy_study,
    noisy_world,
    published,
    searched,
)

NOISES = (0.02, 0.05)
WORTHWHILE = 0.05  # a true gain over the baseline that a study should see
RESULTS = Path(__file__).parent / "results" / "confirm.json"


def main() -> None:
    """Run the studies, print the table and write it to `RESULTS`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="for each noise, with and without confirm")
    parser.add_argument("--whole", action="store_true", help="drive the search through decide, too")
    parser.add_argument("--choosing-loads", type=int, default=confirmation.CHOOSING_LOADS)
    parser.add_argument("--number-loads", type=int, default=confirmation.NUMBER_LOADS)
    arguments = parser.parse_args()
    wanted = {"CHOOSING_LOADS": arguments.choosing_loads, "NUMBER_LOADS": arguments.number_loads}
    is_shipped = all(getattr(confirmation, name) == loads for name, loads in wanted.items())
    for name, loads in wanted.items():
        setattr(confirmation, name, loads)
    summary = {
        f"{noise:.0%}": _of_noise(noise, arguments.studies // len(SHAPES), whole=arguments.whole) for noise in NOISES
    }
    content = {"studies": arguments.studies, "shapes": list(SHAPES), **wanted, "noise_of_a_load": summary}
    if is_shipped:
        RESULTS.write_text(json.dumps(content, indent=2) + "\n")


def _of_noise(noise: float, studies: int, *, whole: bool) -> dict[str, object]:
    found: dict[str, object] = {}
    for confirm in (True, False):
        by_shape = {
            shape: [_study(shape, noise, seed, confirm=confirm, whole=whole) for seed in range(studies)]
            for shape in SHAPES
        }
        rows = {"all": [each for group in by_shape.values() for each in group], **by_shape}
        name = "with confirm" if confirm else "without"
        found[name] = {shape: _summary(group) for shape, group in rows.items()}
        for shape, group in rows.items():
            print(f"{noise:.0%} {name:12} {shape:8} {json.dumps(_summary(group))}", flush=True)
    return found


def _study(shape: Shape, noise: float, seed: int, *, confirm: bool, whole: bool) -> Published:
    world = noisy_world(shape, noise=noise, seed=seed)
    study = noisy_study(world, confirm=confirm)
    return published(study, world, drive_to_end(study, world, None if whole else searched(study, world)))


def _summary(group: Sequence[Published]) -> dict[str, object]:
    """Return the figures of some studies; errors are in standard deviations of a load."""
    errors = [each.error for each in group]
    not_better = [each for each in group if not each.is_better]
    worthwhile = [each for each in group if each.gain_ratio >= WORTHWHILE]
    return {
        "studies": len(group),
        "bias_in_sigmas": round(fmean(errors), 3),
        "standard_error_of_bias": round(stdev(errors) / sqrt(len(errors)), 3),
        "spread_in_sigmas": round(stdev(errors), 3),
        "false_better_share": round(fmean(each.says_better and not each.is_better for each in group), 4),
        "false_better_share_where_nothing_is": _mean(each.says_better for each in not_better),
        "sees_gain_of_5_percent_share": _mean(each.says_better for each in worthwhile),
        "interval_covers_share": _mean(each.covered for each in group if each.covered is not None),
        "half_interval_in_sigmas": _mean(each.half_width for each in group if each.half_width is not None),
        "regret_ratio": round(fmean(each.regret_ratio for each in group), 5),
        "loads": round(fmean(each.loads_again for each in group), 2),
        "gpu_seconds_of_search": round(fmean(each.search_gpu_seconds for each in group)),
        "cost_ratio": round(fmean(each.again_gpu_seconds / each.search_gpu_seconds for each in group), 4),
    }


def _mean(numbers: Iterable[float]) -> float | None:
    known = list(numbers)
    return round(fmean(known), 4) if known else None


if __name__ == "__main__":
    main()
