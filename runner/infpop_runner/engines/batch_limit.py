"""A vLLM scheduler whose limit on running sequences can be lowered between trials, without another load.

vLLM fixes `max_num_seqs` when it loads. The scheduler here admits fewer: as many as the sampling parameters of the
last request that came in say. All requests of a pass say the same, and a pass begins when the last one has ended, so
the limit never changes under running sequences. The model runner stays dimensioned for the largest batch.

Imported by name in vLLM's engine process. A custom scheduler is no public interface of vLLM; that the limit held is
therefore checked from the requests' own times in every pass (`infpop_runner.measure.find_flaw`).
"""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

LIMIT_KEY = "infpop_batch_size"


class _BatchLimit:
    """Mixed into a scheduler: takes the limit from each request before queueing it."""

    def add_request(self, request: Any) -> None:  # noqa: ANN401 - vLLM has no types
        """Lower or raise the limit to what the request asks for, then queue it."""
        limit = (request.sampling_params.extra_args or {}).get(LIMIT_KEY)
        if limit is not None:
            # Since 0.30 admission has a name of its own; before, one limit served both purposes.
            name = "max_num_active_reqs" if hasattr(self, "max_num_active_reqs") else "max_num_running_reqs"
            setattr(self, name, int(limit))
        super().add_request(request)  # type: ignore[misc]


class BatchLimitedScheduler(_BatchLimit, Scheduler):  # type: ignore[misc]
    """Where vLLM would take its synchronous scheduler (always so on a CPU)."""


class BatchLimitedAsyncScheduler(_BatchLimit, AsyncScheduler):  # type: ignore[misc]
    """Where vLLM would take its asynchronous scheduler."""


def batch_limited_scheduler(*args: Any, **kwargs: Any) -> Scheduler:  # noqa: ANN401 - vLLM has no types
    """Return the scheduler that vLLM would have chosen by itself, with the limit added."""
    config = kwargs["vllm_config"] if "vllm_config" in kwargs else args[0]
    chosen = BatchLimitedAsyncScheduler if config.scheduler_config.async_scheduling else BatchLimitedScheduler
    return chosen(*args, **kwargs)
