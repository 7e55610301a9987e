"""A watch that has ended is noticed: the operator ends, to be restarted, and the probe fails."""

import asyncio
import logging
from collections.abc import Collection
from contextlib import asynccontextmanager

import kopf
import pytest
from kopf._core.engines.activities import ActivityError, run_activity
from kopf._core.engines.indexing import OperatorIndexers
from kopf._core.intents.causes import Activity

from infpop_operator.cluster.service import Kind
from infpop_operator.handlers.operator import _lost_watch
from infpop_operator.handlers.registration import WATCHED, _Handlers
from infpop_operator.handlers.watches import (
    LONGEST_PAUSE_S,
    MISSING_S,
    POLL_S,
    START_S,
    Watches,
    WithoutTraceback,
    watch_prefix,
)
from infpop_operator.settings import Settings

TASKS = {  # as kopf names them
    "study": "watcher for throughputstudies.v1alpha1.infpop.io@None",
    "job": "watcher for jobs.v1.batch@None",
    "pod": "watcher for pods.v1@None",
    "node": "watcher for nodes.v1@None",
}


class Polls:
    """Polls of the watches."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        expected = ((kind, watch_prefix(resource)) for resource, kind in WATCHED)
        self._watches = Watches(expected, lambda: self._now_s)
        self.asked = 0

    def without(self, *kinds: Kind, seconds: float, unserved: Collection[Kind] = ()) -> tuple[Kind, ...]:
        """Return what has ended when these kinds had no watch for so long."""
        tasks = ["infpop", *(name for kind, name in TASKS.items() if kind not in kinds)]

        async def ask() -> Collection[Kind]:
            self.asked += 1
            return unserved

        async def play() -> tuple[Kind, ...]:
            ended = await self._watches.poll(tasks, ask)
            for _ in range(int(seconds / POLL_S)):
                self._now_s += POLL_S
                ended = await self._watches.poll(tasks, ask)
            return ended

        return asyncio.run(play())


@pytest.mark.parametrize("kind", ["study", "job", "pod", "node"])
def test_each_watch_is_missed_when_it_has_ended(kind: Kind) -> None:
    """A pause of a few seconds is normal: kopf stops and starts a watch when a definition changes."""
    polls = Polls()
    assert polls.without(seconds=30) == ()
    assert polls.without(kind, seconds=MISSING_S - POLL_S) == ()
    assert polls.without(seconds=5) == ()
    assert polls.without(kind, seconds=MISSING_S) == (kind,)


def test_a_watch_of_another_kind_or_namespace_counts_by_its_whole_name() -> None:
    """Each watched namespace has its own task, and a kind whose name begins alike is another one."""
    watches = Watches([("pod", watch_prefix(("", "v1", "pods")))], lambda: 0.0)
    watches.ended(["watcher for pods.v1@serving"])
    assert watch_prefix(("", "v1", "pods")) == "watcher for pods.v1@"
    assert not "watcher for pods.v1beta1.metrics.k8s.io@None".startswith(watch_prefix(("", "v1", "pods")))


def test_a_kind_that_is_not_served_needs_no_watch() -> None:
    """While the CRD is deleted the operator waits; it ends when the kind is served again and no watch comes."""
    polls = Polls()
    assert polls.without(seconds=5) == ()
    assert polls.without("study", seconds=600, unserved=("study",)) == ()
    assert polls.without("study", seconds=MISSING_S - POLL_S) == ()
    assert polls.without("study", seconds=LONGEST_PAUSE_S + POLL_S) == ("study",)


def test_the_api_server_is_asked_rarely_about_a_kind_that_stays_unserved() -> None:
    """The CRD may be deleted for months; while every kind is watched the API server is not asked at all."""
    polls = Polls()
    polls.without(seconds=600)
    assert polls.asked == 0
    polls.without("study", seconds=3600, unserved=("study",))
    assert polls.asked <= 3600 / LONGEST_PAUSE_S + 5
    polls.without(seconds=5)
    before = polls.asked
    assert polls.without("study", seconds=MISSING_S) == ("study",)
    assert polls.asked > before


def test_a_kind_that_is_no_longer_served_since_the_last_question_ends_nothing() -> None:
    """The API server is asked once more before the operator ends."""
    polls = Polls()
    assert polls.without(seconds=5) == ()
    assert polls.without("study", seconds=MISSING_S - POLL_S) == ()
    assert polls.without("study", seconds=MISSING_S, unserved=("study",)) == ()


def test_watches_have_time_to_start() -> None:
    """On a busy machine kopf takes long to read what the API server serves."""
    polls = Polls()
    assert polls.without("study", "job", "pod", "node", seconds=START_S - POLL_S) == ()
    assert polls.without("study", "job", "pod", "node", seconds=POLL_S) == ("study", "job", "pod", "node")


def test_an_answer_of_the_api_server_has_no_traceback_and_a_defect_has() -> None:
    """The message of a refused watch says everything."""
    refused = type("APINotFoundError", (Exception,), {"__module__": "kopf._cogs.clients.errors"})("404 page not found")
    kept = []
    for error in (refused, kopf.LoginError("Ran out of valid credentials"), ValueError("defect")):
        record = logging.LogRecord("kopf", logging.ERROR, "", 0, "it failed", None, (type(error), error, None))
        assert WithoutTraceback().filter(record)
        kept.append(record.exc_info is not None)
    assert kept == [False, False, True]


def test_the_process_ends_because_of_a_lost_watch_and_says_so() -> None:
    """Kopf wraps what the end of the operator raises; the command line gets the watch, and an exit code above 0."""

    @asynccontextmanager
    async def unopened():  # type: ignore[no-untyped-def]  # noqa: ANN202 - never entered
        yield

    registry = kopf.OperatorRegistry()
    handlers = _Handlers(unopened, Settings())
    handlers.register(registry)
    handlers._end_for_restart("the API server serves objects that are not watched (study)")

    async def end() -> None:
        await run_activity(
            lifecycle=kopf.lifecycles.all_at_once,
            registry=registry,
            settings=kopf.OperatorSettings(),
            activity=Activity.CLEANUP,
            indices=OperatorIndexers().indices,
            memo=None,
        )

    with pytest.raises(ActivityError) as caught:
        asyncio.run(end())
    assert str(_lost_watch(caught.value)).startswith("the API server serves objects that are not watched (study). ")
    assert _lost_watch(ValueError("a defect")) is None


def test_an_operator_whose_token_has_expired_says_so() -> None:
    """An operator outside the cluster has a token of limited life: its end names that, not the library's advice."""
    ended = _lost_watch(kopf.LoginError("Ran out of valid credentials. Consider installing an API client library"))
    assert "token has expired" in str(ended)
    assert "library" not in str(ended)
