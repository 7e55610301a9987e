"""Notice a watch that has ended.

When a CustomResourceDefinition is deleted, kopf stops the watch of its objects. When it is created again, kopf starts
the watch only if the API server lists the kind by the time it reports the new definition, which it often does not.
Without its watch the operator would see a kind only at each resync. So a kind that the API server serves and kopf does
not watch is a failure: the process ends, and is restarted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable

import kopf

from infpop_operator.api.resource import NAME
from infpop_operator.cluster.service import Kind, Service
from infpop_operator.core.errors import InfPopError

POLL_S = 1.0
MISSING_S = 10.0  # kopf starts and stops watches within a second
LONGEST_PAUSE_S = 10.0  # between two questions to the API server; a kind may be missing for months
START_S = 20.0  # until kopf has started all of them, on a busy machine


class Watches:
    """Compares the kinds that kopf watches with those that it should watch.

    Args:
        expected: each kind, and what the name of its watch begins with.
        monotonic: returns seconds that never go back.
    """

    def __init__(self, expected: Iterable[tuple[Kind, str]], monotonic: Callable[[], float]) -> None:
        self._expected = dict(expected)
        self._monotonic = monotonic
        self._started_s = monotonic()
        self._were_complete = False
        self._missing_since_s: dict[Kind, float] = {}
        self._unserved: Collection[Kind] = ()
        self._pause_s = POLL_S
        self._ask_at_s = self._started_s

    def missing(self, tasks: Collection[str]) -> set[Kind]:
        """Return the kinds that have no watch among the tasks with these names; kopf runs a task for each watch."""
        return {kind for kind, prefix in self._expected.items() if not any(task.startswith(prefix) for task in tasks)}

    def ended(self, tasks: Collection[str], *, unserved: Collection[Kind] = ()) -> tuple[Kind, ...]:
        """Return the kinds that kopf has not watched for too long.

        Args:
            tasks: the names of all tasks that run.
            unserved: the kinds that the API server does not serve now: they need no watch.
        """
        now_s = self._monotonic()
        missing = self.missing(tasks) - set(unserved)
        self._were_complete = self._were_complete or not missing
        self._missing_since_s = {kind: self._missing_since_s.get(kind, now_s) for kind in missing}
        if not self._were_complete and now_s - self._started_s < START_S:
            return ()
        return tuple(kind for kind in self._expected if now_s - self._missing_since_s.get(kind, now_s) >= MISSING_S)

    async def poll(self, tasks: Collection[str], ask: Callable[[], Awaitable[Collection[Kind]]]) -> tuple[Kind, ...]:
        """Return the kinds that kopf has not watched for too long, although the API server serves them now.

        Args:
            tasks: the names of all tasks that run.
            ask: returns the kinds that the API server does not serve now. It is called with growing pauses while kinds
                are missing, and before any kind is returned.
        """
        if not self.missing(tasks):
            self._unserved, self._pause_s, self._ask_at_s = (), POLL_S, self._monotonic()
            return self.ended(tasks)
        if self._monotonic() < self._ask_at_s and not self.ended(tasks, unserved=self._unserved):
            return ()
        self._unserved = await ask()
        self._ask_at_s = self._monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return self.ended(tasks, unserved=self._unserved)


class WatchEndedError(InfPopError, kopf.PermanentError):
    """A watch has ended for a reason that kopf does not retry, so that the operator has to be restarted."""


def is_refused_watch(error: BaseException | None) -> bool:
    """Return whether the API server's answer to kopf is what failed; the classes of most such errors are private."""
    return isinstance(error, kopf.LoginError) or type(error).__module__.startswith("kopf._cogs.clients.")


def refused_watch(error: BaseException) -> WatchEndedError:
    """Return what a person reads of an answer of the API server after which kopf gives up, with the remedy."""
    if isinstance(error, kopf.LoginError):
        remedy = "Give the kubeconfig or the Pod new credentials and start the operator again: runs go on meanwhile"
        return WatchEndedError(
            "the API server no longer accepts the operator's credentials: its token has expired, or its service account"
            f" was deleted. {remedy}."
        )
    remedy = f"Restart the operator. If {NAME} is not installed: infpop crds | kubectl apply --server-side -f -"
    return WatchEndedError(f"the API server refuses a watch: {error}. {remedy}")


class WithoutTraceback(logging.Filter):
    """Takes the traceback from what kopf logs about an answer of the API server: the message says everything."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record."""
        if record.exc_info is not None and is_refused_watch(record.exc_info[1]):
            record.exc_info = None
        return True


def watch_prefix(resource: tuple[str, ...]) -> str:
    """Return what the name of kopf's task begins with that watches a resource (group, version, plural)."""
    group, version, plural = resource
    return f"watcher for {'.'.join(part for part in (plural, version, group) if part)}@"


async def end_with_a_watch(watches: Watches, service: Service, fail: Callable[[str], None]) -> None:
    """Call `fail` once a watch has ended, with the reason; run until then."""
    while True:
        await asyncio.sleep(POLL_S)
        tasks = [task.get_name() for task in asyncio.all_tasks()]
        ended = await watches.poll(tasks, service.unserved_kinds)
        if ended:
            fail(f"the API server serves objects that are not watched ({', '.join(ended)})")
            return
