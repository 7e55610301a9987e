"""Read a study with its results from a cluster: its status, and its journal where the account may read ConfigMaps."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from infpop_operator.adapters.found_study import FoundStudy
from infpop_operator.adapters.journal import NewerJournalError
from infpop_operator.adapters.kube.cluster_clock import ClusterClock
from infpop_operator.adapters.kube.errors import KubeError, KubeForbiddenError, KubeUnavailableError
from infpop_operator.adapters.kube.records import Body
from infpop_operator.adapters.kube.study_reader import ReadError, StudyReader
from infpop_operator.api.study_object import parse_study_object
from infpop_operator.core.errors import NoAnswerError, StoreError
from infpop_operator.core.model import History

_LESS = "numbers are rounded, and nothing is known of loads, memory and software"


def find_on_cluster(name: str, *, namespace: str | None, context: str | None, kubeconfig: str | None) -> FoundStudy:
    """Return a study as the cluster has it now; for a program without an event loop.

    Args:
        name: of the study, or `NAMESPACE/NAME`.
        namespace: of the study, None for that of the context.
        context: of the kubeconfig.
        kubeconfig: its path, None as for kubectl.

    Raises:
        ConnectionConfigError: no connection to a cluster is configured.
        NoAnswerError: the API server gives no answer at the moment.
        ReadError: the study does not exist, or the account may not read it.
        UnreadableError: this version of InfPop cannot parse the status.
    """
    own, _, last = name.rpartition("/")
    if own and namespace not in {None, own}:
        raise ReadError(f"study/{name} names another namespace than --namespace {namespace}. Leave one of them out.")
    clock = ClusterClock(_now, time.monotonic)  # the times of a study are the API server's
    reader = StudyReader(last, namespace=own or namespace, context=context, kubeconfig=kubeconfig, clock=clock)
    with ThreadPoolExecutor(1) as thread:  # a notebook has an event loop in its own thread
        return thread.submit(lambda: asyncio.run(_find(reader, clock))).result()


async def _find(reader: StudyReader, clock: ClusterClock) -> FoundStudy:
    async with reader:
        body = await reader.read()
        study = parse_study_object(body)
        source = f"study/{study.namespace}/{study.name}"
        history, notes = await _history(reader, source, body)
    content = body.get("status") or {}
    return FoundStudy(source=source, study=study, history=history, notes=notes, content=content, read_at=clock())


async def _history(reader: StudyReader, source: str, body: Body) -> tuple[History | None, tuple[str, ...]]:
    """Return the history, or None and a sentence that says what is missing without it."""
    try:
        history = await reader.read_history(body)
    except KubeUnavailableError as error:
        raise NoAnswerError(f"{error}. Check that the cluster is up and can be reached from here.") from error
    except KubeForbiddenError:
        return None, (f"{source}: you may not read ConfigMaps, so its journal is left out: {_LESS}.",)
    except NewerJournalError:
        raise
    except (KubeError, StoreError) as error:
        return None, (f"{source}: its journal cannot be read ({error}): {_LESS}.",)
    if not history.rounds:
        return None, (f"{source}: its journal is empty or was deleted: {_LESS}.",) if _has_trials(body) else ()
    return history, ()


def _has_trials(body: Body) -> bool:
    """Return whether the status of a study has trials."""
    return bool((body.get("status") or {}).get("trials"))


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - for an API server behind a proxy that drops its Date
