"""Read one study from a cluster for the command line; every error message contains a remedy."""

import asyncio
import difflib
import re
from datetime import datetime
from types import TracebackType
from typing import Self

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.cluster_clock import ClusterClock
from infpop_operator.adapters.kube.connection import Connection, find_connection
from infpop_operator.adapters.kube.errors import KubeError, KubeNotFoundError, KubeRefusedError
from infpop_operator.adapters.kube.job_manifest import Owner
from infpop_operator.adapters.kube.journal_store import JournalStore
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.resource import NAME, SHORT_NAME
from infpop_operator.api.study_object import StudyObject, parse_study_object
from infpop_operator.core.errors import InfPopError, NoAnswerError
from infpop_operator.core.model import History
from infpop_operator.core.object_names import NAME_PATTERN

_LONG_AGO = "1970-01-01T00:00:00Z"  # of an object without a time of creation; only a history without steps has it
_NAMED = 5  # existing studies named in a message
_REFUSALS = 5  # tolerated in a row after a successful read


class ReadError(InfPopError):
    """The study cannot be read; the message says why and what to do."""


def read_study(name: str, *, namespace: str | None, context: str | None, kubeconfig: str | None) -> StudyObject:
    """Return a study as the cluster has it now; for a program without an event loop.

    Raises:
        ConnectionConfigError: no connection to a cluster is configured.
        NoAnswerError: the API server gives no answer at the moment.
        ReadError: the study does not exist, or the account may not read it.
        UnreadableError: this version of InfPop cannot parse the status.
    """

    async def read() -> Body:
        async with StudyReader(name, namespace=namespace, context=context, kubeconfig=kubeconfig) as reader:
            return await reader.read()

    return parse_study_object(asyncio.run(read()))


class StudyReader:
    """Reads one study; an async context manager.

    A long watch may outlive a token, and an API server that has just started refuses every account for a second. So
    after a successful read, the first few refusals count as no answer, and the next read uses fresh credentials.
    `clock` learns the API server's time from each read.
    """

    def __init__(
        self,
        name: str,
        *,
        namespace: str | None,
        context: str | None,
        kubeconfig: str | None,
        clock: ClusterClock | None = None,
    ) -> None:
        for what, value in (("study", name), ("namespace", namespace)):
            if value is not None and not re.fullmatch(NAME_PATTERN, value):
                allowed = "lower-case letters, digits and dashes"
                raise ReadError(f"{value!r} is not a valid {what} name. Use {allowed}.")
        self._name = name
        self._namespace = namespace
        self._context = context
        self._kubeconfig = kubeconfig
        self._clock = clock
        self._connection: Connection | None = None
        self._client: KubeClient | None = None
        self._refusals = 0
        self._patience = 0

    async def __aenter__(self) -> Self:
        """Do nothing: the first read opens the connection."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self._close()

    async def read(self) -> Body:
        """Return the study as the API server has it now, with one request.

        Raises:
            ConnectionConfigError: no connection to a cluster is configured.
            NoAnswerError: there is no answer, or a refusal that may go away soon.
            ReadError: the study does not exist, or the account may not read it.
        """
        try:
            body = await self._get()
        except _RefusedError as error:
            await self._close()
            self._refusals += 1
            if self._refusals > self._patience:
                raise
            raise NoAnswerError(str(error)) from error
        self._refusals, self._patience = 0, _REFUSALS
        return body

    async def read_history(self, body: Body) -> History:
        """Return the history in the journal of a study that `read` has returned; empty if it has no journal.

        Raises:
            StoreError: a step is damaged, or was written by a newer version.
            KubeError: the request to the API server failed, perhaps because the account may not read ConfigMaps.
        """
        client, _ = await self._open()
        metadata = body["metadata"]
        owner = Owner(name=metadata["name"], namespace=metadata["namespace"], uid=metadata.get("uid", ""))
        created_at = datetime.fromisoformat(metadata.get("creationTimestamp") or _LONG_AGO)
        return await JournalStore(client).peek(owner, created_at, keep=False)

    async def _get(self) -> Body:
        client, namespace = await self._open()
        try:
            return await client.get_study(namespace, self._name)
        except KubeNotFoundError:
            raise await self._missing(client, namespace) from None
        except KubeRefusedError as error:
            right = f"kubectl auth can-i get {NAME} --namespace {namespace}"
            remedy = f"Log in again, or ask for the right to read studies ({right})"
            raise _RefusedError(f"{error}. {remedy}.") from error
        except KubeError as error:
            raise NoAnswerError(f"{error}. Check that the cluster is up and can be reached from here.") from error

    async def _open(self) -> tuple[KubeClient, str]:
        if self._client is None or self._connection is None:
            self._connection = await find_connection(context=self._context, kubeconfig=self._kubeconfig)
            namespace = self._namespace or self._connection.namespace
            self._client = KubeClient(self._connection, namespace=namespace, clock=self._clock)
        return self._client, self._namespace or self._connection.namespace

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__()

    async def _missing(self, client: KubeClient, namespace: str) -> ReadError:
        """Return the error for a missing study or CRD; it names existing studies if the account may list them."""
        nothing = f"namespace {namespace} has no study {self._name}"
        try:
            studies, _ = await client.list_studies()
        except KubeNotFoundError:
            remedy = "Install it: infpop crds | kubectl apply --server-side -f -"
            return ReadError(f"the cluster does not know the kind {NAME}. {remedy}.")
        except KubeError:
            return ReadError(f"{nothing}. Name another namespace with --namespace.")
        names = sorted(str(study["metadata"]["name"]) for study in studies)
        return ReadError(f"{nothing}. {_others(self._name, names)}")


class _RefusedError(ReadError):
    """The API server understood the request and refused it."""


def _others(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=_NAMED)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    if not names:
        return f"It has no studies; name another with --namespace (to list all studies: kubectl get {SHORT_NAME} -A)."
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"It has {', '.join(names[:_NAMED])}{more}; name another namespace with --namespace."
