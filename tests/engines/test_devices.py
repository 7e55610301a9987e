"""Which GPUs a run takes."""

import pytest

from infpop_runner.engines.devices import limit_devices


@pytest.mark.parametrize(
    ("visible", "gpu_count", "present", "expected"),
    [
        (None, 2, 4, ("0", "1")),
        ("2,3", 1, 4, ("2",)),
        (" 2, 3 ", 2, 4, ("2", "3")),
        ("GPU-a,GPU-b", 2, 4, ("GPU-a", "GPU-b")),
        ("", 1, 4, ()),
        (None, 4, 1, ("0",)),
    ],
)
def test_a_run_takes_the_first_of_its_devices(
    visible: str | None, gpu_count: int, present: int, expected: tuple[str, ...]
) -> None:
    """A run takes as many devices as it asks for, of those that it may use, and no others."""
    assert limit_devices(visible, gpu_count=gpu_count, present=present) == expected
