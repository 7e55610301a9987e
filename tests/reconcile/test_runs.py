"""What happens to a run between being seen and being stopped."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from adapters.kube.objects import OWNER, at, make_ended, make_job, make_node, make_running
from cluster.kit import study
from infpop_operator.adapters.kube.records import PodRecord
from infpop_operator.cluster.cache import Cache
from infpop_operator.cluster.gathering import Gatherer
from infpop_operator.cluster.keys import StudyKey
from infpop_operator.cluster.prepare import prepare_study
from infpop_operator.cluster.runs import Runs
from infpop_operator.cluster.signs import Signs
from infpop_operator.core.decide import decide
from infpop_operator.core.model import History, StartedRun, Stop
from infpop_operator.settings import Settings
from simulation.factories import START

KEY = StudyKey(OWNER.namespace, OWNER.name)
SETTINGS = Settings(runner_image="example.org/runner:1")


def kept_when_stopped(seen: PodRecord, by_then: PodRecord) -> bool:
    """Say whether a run is kept for the next look whose Pod was `seen`, and is `by_then` when the run is stopped."""
    body = study(OWNER.name, OWNER.namespace)
    body["metadata"] |= {"uid": OWNER.uid, "generation": 1}
    prepared = prepare_study(body, [make_node()], None, SETTINGS)
    decision = decide(prepared.study, History(started_at=START), {}, START)
    run = decision.start[0]
    history = replace(decision.history, active=(StartedRun(run=run, started_at=START),))
    cache = Cache()
    cache.see_job(make_job(name=run.name, run=run.name))
    cache.see_pod(replace(seen, run=run.name, resource_version="1"))
    signs = Signs(None, None, cache)  # type: ignore[arg-type]

    async def look() -> bool:
        gatherer = Gatherer(pods=signs, prometheus=None, order=("PodMetrics",), done=lambda _: None)
        runs = Runs(
            client=None,  # type: ignore[arg-type] - nothing is to be asked of the cluster
            cache=cache,
            signs=signs,
            gatherer=gatherer,
            settings=SETTINGS,
            clock=lambda: at(120),
        )
        jobs = runs.existing(KEY, OWNER)
        _, _, open_runs = await runs.observe(KEY, prepared, history, jobs, at(120))
        cache.see_pod(replace(by_then, run=run.name, resource_version="2"))
        stopping = replace(decision, stop=(Stop(run=run.name, reason="Suspended"),))
        return run.name in await runs.end(KEY, stopping, jobs, open_runs, at(120) + timedelta(seconds=1))

    return asyncio.run(look())


def test_a_run_that_ends_while_it_is_being_stopped_is_heard_out() -> None:
    """Its Pod was at work when it was seen and has ended when it is stopped: its result is not known yet, nor lost."""
    assert kept_when_stopped(make_running(), make_ended(0))


def test_a_run_that_was_over_when_it_was_seen_is_not_kept() -> None:
    """What was seen of its end is all that there is."""
    assert not kept_when_stopped(make_ended(0), make_ended(0))
