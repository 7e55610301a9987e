"""Say how many prompts one pass through the engine has, and find what one of its batches takes."""

from collections.abc import Sequence
from statistics import fmean

from infpop_runner.measure.values import Interval

# A pass of a single batch would consist only of ramp-up and tail (guidellm#93: such numbers are biased); with four
# batches the batch is full most of the time. The number is the same for every engine, so that results are comparable.
FULL_BATCHES_PER_PASS = 4


def pass_length(*, samples: int, batch_size: int) -> int:
    """Return the number of prompts in a pass: the smallest multiple of `batch_size` that meets both minimums.

    The minimums are `samples`, so that every distinct prompt counts, and four batches.

    Raises:
        ValueError: `samples` or `batch_size` is smaller than 1.
    """
    if samples < 1 or batch_size < 1:
        raise ValueError(f"samples and batch_size must be at least 1, got {samples} and {batch_size}")
    at_least = max(samples, FULL_BATCHES_PER_PASS * batch_size)
    return -(-at_least // batch_size) * batch_size


def steady_batch_seconds(intervals: Sequence[Interval], *, batch_size: int) -> float:
    """Return the seconds of one batch between the ramp-up and the tail of a call.

    A queued sequence starts when one `batch_size` places before it ends. So while the batch is full, the time between
    the ends of two sequences that are whole batches apart is that of these batches, whether sequences end one by one or
    all together. The last batch is left out: it drains, and nothing starts any more.

    Args:
        intervals: when each sequence was in the batch; at least three full batches.
        batch_size: the most sequences that run at the same time.

    Raises:
        ValueError: there are fewer than three full batches.
    """
    ends = sorted(end for _, end in intervals)
    batches = len(ends) // batch_size
    if batches < 3:  # noqa: PLR2004 - one ramps up, one drains
        raise ValueError(f"{len(ends)} sequences are {batches} full batches of {batch_size}, not three")
    apart = (batches - 2) * batch_size
    return fmean(ends[number + apart] - ends[number] for number in range(batch_size)) / (batches - 2)


def sequential_batch_seconds(batches: Sequence[Interval], *, seconds: float) -> float:
    """Return the seconds that one more batch adds to a call that runs its batches one after another.

    They are those of all batches but the first one, in which a call takes up its work.

    Args:
        batches: when each batch ran, in order; at least one.
        seconds: of the whole call; what a single batch takes.
    """
    if len(batches) == 1:
        return seconds
    return (batches[-1][1] - batches[0][1]) / (len(batches) - 1)


def extended_length(lengths: Sequence[float], repeated: Sequence[float], *, left: int) -> float:
    """Return the mean input length of a pass that consists of some batches and `left` more of the repeated ones.

    Args:
        lengths: of the batches that ran.
        repeated: of those among them whose time stands for each of the others.
        left: how many others there are.
    """
    return (sum(lengths) + left * fmean(repeated)) / (len(lengths) + left)
