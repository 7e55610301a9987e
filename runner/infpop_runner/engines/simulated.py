"""An engine that replays a landscape: for demonstrations and tests, never for decisions about real hardware.

It runs in the same loop as a real engine, and its results are marked as simulated. The reported time of a pass comes
from the landscape; the engine really waits only `load_seconds` and `repeat_seconds`.
"""

import math
from random import Random

from infpop_runner.contract import RecordedLandscape, SimulationSpec
from infpop_runner.engines.errors import EngineBrokenError
from infpop_runner.engines.landscape import formula_throughput, load_cells, recorded_throughput
from infpop_runner.engines.protocol import AboutEngine, LoadRequest
from infpop_runner.measure import Block, PassOutcome, SyntheticPrompts, pass_length

SLOWEST = 0.05  # lower limit of a repeat, relative to its landscape: noise must not make a throughput zero
MISSING = {
    "batch_seconds_p50": "Simulated",
    "batch_seconds_p95": "Simulated",
    "concurrency_peak": "Simulated",
    "gpu_memory_peak_bytes": "Simulated",
    "pad_ratio": "Simulated",
}


class SimulatedEngine:
    """Replays one landscape; the noise of a cell depends only on the seed and the cell."""

    def __init__(self, request: LoadRequest, simulation: SimulationSpec) -> None:
        self._request = request
        self._simulation = simulation
        landscape = simulation.landscape
        self._cells = load_cells(landscape) if isinstance(landscape, RecordedLandscape) else {}
        self._noise: dict[int, Random] = {}
        prompts = request.prompts
        self.about = AboutEngine(
            version=None,
            torch_version=None,
            engine_args={"landscape": landscape.kind, "noise_ratio": simulation.noise_ratio},
            device_mode="simulated",
            model=None,
            prompt_tokens_mean=prompts.prompt_tokens if isinstance(prompts, SyntheticPrompts) else None,
            missing_reasons=MISSING,
        )

    def warm_up(self, batch_size: int) -> None:
        """Raise if the landscape fails at this cell; otherwise wait as long as a pass does."""
        self._throughput(batch_size)
        self._pretend_to_work()

    def run_pass(self, batch_size: int) -> PassOutcome:
        """Return a pass with the landscape's throughput plus noise."""
        workload = self._request.spec.workload
        count = pass_length(samples=workload.samples, batch_size=batch_size)
        rate = self._throughput(batch_size) * self._next_noise(batch_size, self._simulation.noise_ratio)
        self._pretend_to_work()
        generated = (workload.max_new_tokens,) * count
        return PassOutcome(seconds=sum(generated) / rate, generated=generated)

    def run_block(self, batch_size: int, first: int, batches: int) -> Block:  # noqa: ARG002 - all batches are alike
        """Return some batches with the landscape's time plus noise.

        What takes as long as the shortest repeat has the noise of one; it falls with the root of the time.
        """
        workload = self._request.spec.workload
        share = batches * batch_size / pass_length(samples=workload.samples, batch_size=batch_size)
        generated = (workload.max_new_tokens,) * (batches * batch_size)
        seconds = sum(generated) / self._throughput(batch_size)
        of_repeat = min(self._request.spec.measurement.min_repeat_seconds or math.inf, seconds / share)
        seconds *= self._next_noise(batch_size, self._simulation.noise_ratio * math.sqrt(of_repeat / seconds))
        self._pretend_to_work(share)
        return Block(outcome=PassOutcome(seconds=seconds, generated=generated), pass_seconds=seconds / share)

    def memory_peak_bytes(self) -> int | None:
        """Return None: nothing was allocated."""
        return None

    def clear_memory(self) -> bool:
        """Return True: nothing was allocated."""
        return True

    def close(self) -> None:
        """Do nothing: nothing was started."""

    def _pretend_to_work(self, share: float = 1.0) -> None:
        if self._simulation.repeat_seconds:
            self._request.wait(self._simulation.repeat_seconds * share)

    def _throughput(self, batch_size: int) -> float:
        gpu_count = self._request.spec.gpu_count
        landscape = self._simulation.landscape
        if isinstance(landscape, RecordedLandscape):
            return recorded_throughput(self._cells, gpu_count=gpu_count, batch_size=batch_size)
        return formula_throughput(landscape, gpu_count=gpu_count, batch_size=batch_size)

    def _next_noise(self, batch_size: int, deviation: float) -> float:
        spec = self._request.spec
        random = self._noise.setdefault(batch_size, Random(f"{spec.seed}:{spec.gpu_count}:{batch_size}"))
        return max(SLOWEST, random.gauss(1.0, deviation))


def load(request: LoadRequest) -> SimulatedEngine:
    """Return the engine after waiting the simulated load time.

    Raises:
        EngineBrokenError: the recorded landscape cannot be read, or the spec has no simulation.
    """
    simulation = request.spec.engine.simulation
    if simulation is None:
        raise EngineBrokenError("RunnerError", "engine.simulation is not set")
    engine = SimulatedEngine(request, simulation)
    if simulation.load_seconds:
        request.wait(simulation.load_seconds)
    return engine
