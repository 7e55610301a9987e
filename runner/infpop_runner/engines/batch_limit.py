"""A vLLM scheduler whose limit on running sequences can be lowered between trials, without another load.

vLLM fixes `max_num_seqs` when it loads. This scheduler admits fewer sequences: the limit is in the sampling parameters
of the latest request. All requests of a pass carry the same limit, and a pass starts after the previous one has ended,
so the limit never changes under running sequences. The model runner stays dimensioned for the largest batch.

vLLM's engine process imports this module by name. A custom scheduler is not a public interface of vLLM; so every pass
checks from the times of its requests that the limit held (`infpop_runner.measure.find_flaw`).
"""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

LIMIT_KEY = "infpop_batch_size"


class _BatchLimit:
    """A mixin for a scheduler that takes the limit from each request before it queues the request."""

    def add_request(self, request: Any) -> None:  # noqa: ANN401 - vLLM has no types
        """Set the limit that the request carries, then queue the request."""
        limit = (request.sampling_params.extra_args or {}).get(LIMIT_KEY)
        if limit is not None:
            # Since vLLM 0.30 admission has its own limit; before, one limit served both purposes.
            name = "max_num_active_reqs" if hasattr(self, "max_num_active_reqs") else "max_num_running_reqs"
            setattr(self, name, int(limit))
        super().add_request(request)  # type: ignore[misc]


class BatchLimitedScheduler(_BatchLimit, Scheduler):  # type: ignore[misc]
    """Replaces vLLM's synchronous scheduler (the only one on a CPU)."""


class BatchLimitedAsyncScheduler(_BatchLimit, AsyncScheduler):  # type: ignore[misc]
    """Replaces vLLM's asynchronous scheduler."""


def batch_limited_scheduler(*args: Any, **kwargs: Any) -> Scheduler:  # noqa: ANN401 - vLLM has no types
    """Return the scheduler that vLLM itself would choose, with the limit added."""
    config = kwargs["vllm_config"] if "vllm_config" in kwargs else args[0]
    chosen = BatchLimitedAsyncScheduler if config.scheduler_config.async_scheduling else BatchLimitedScheduler
    return chosen(*args, **kwargs)
