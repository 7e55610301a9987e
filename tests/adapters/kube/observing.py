"""An observed run: the output of its container, the end of its Job, and the observation itself."""

from factories.kube_objects import at
from factories.runs import make_run
from factories.studies import START, make_measured
from infpop_operator.adapters.kube.observe import PhaseLimits, RunHints, observe_run
from infpop_operator.adapters.kube.records import JobEnd, JobRecord, PodRecord
from infpop_operator.core.model import Observation
from infpop_runner.contract import Broken, Measured, Provenance, RunResult

RUN = make_run()  # two trials, indexes 0 and 1
LIMITS = PhaseLimits(schedule_seconds=600, pull_seconds=1800, run_seconds=3600)
PROVENANCE = Provenance(engine="simulated")
NOTHING = "no result was written"
DRAINED = {"disrupted": "EvictionByEvictionAPI: drained", "disrupted_at": at(90)}
SUSPENDED = {"suspended": True, "started_at": None}
NEXT = {"job_uid": "job-uid", "created_at": at(200), "name": "study-1-next"}


def job_end(reason: str, *, complete: bool = False) -> JobEnd:
    """Return the end of a Job at second 120."""
    return JobEnd(complete=complete, reason=reason, message="m", at=at(120))


EXPIRED = {"end": job_end("DeadlineExceeded")}
FAILED = {"end": job_end("BackoffLimitExceeded")}


def measured(index: int) -> Measured:
    """Return a measurement of one of the run's trials."""
    return make_measured(5.0, index=index, batch_size=8 * (index + 1))


def message(*trials: int, broken: str | None = None, complete: bool = True, **changes: object) -> str:
    """Return a termination message with these trials measured."""
    result = RunResult(
        run=RUN.name,
        trials=tuple(measured(index) for index in trials),
        provenance=PROVENANCE,
        broken=None if broken is None else Broken.model_validate({"reason": broken}),
        started_at=START,
        ended_at=at(99) if complete else None,
    )
    return result.model_copy(update=changes).model_dump_json()


def seen(job: JobRecord, *pods: PodRecord, hints: RunHints | None = None, now: float = 100) -> Observation:
    """Return the observation of the run `now` seconds after its Job's creation."""
    return observe_run(RUN, job, pods, hints or RunHints(), LIMITS, at(now)).observation
