"""Find the API server and the credentials: from the kubeconfig outside a cluster, the service account inside."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException
from yaml import YAMLError

from infpop_operator.core.errors import InfPopError

_CONNECTIONS = 32  # concurrent requests: workers, the tick and the resync together need fewer
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DEFAULT_FILE = "~/.kube/config"
_DEFAULT_NAMESPACE = "default"


class ConnectionConfigError(InfPopError):
    """No connection to a cluster is configured; the message names the files that were read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The same connection for another client library: paths of PEM files, or a bearer token."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    token: str | None = field(repr=False)
    insecure: bool
    proxy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A configured connection to one API server, and the namespace that commands use by default."""

    configuration: Configuration = field(repr=False)
    namespace: str

    @property
    def credentials(self) -> Credentials:
        """Return the credentials as they are now; tokens expire."""
        known = self.configuration
        token = known.api_key.get("BearerToken")
        return Credentials(
            server=known.host,
            ca_path=known.ssl_ca_cert,
            certificate_path=known.cert_file,
            private_key_path=known.key_file,
            token=None if token is None else token.split(" ", 1)[-1],
            insecure=not known.verify_ssl,
            proxy=known.proxy,
        )


FindConnection = Callable[[], Awaitable[Connection]]


async def find_connection(*, context: str | None = None, kubeconfig: str | None = None) -> Connection:
    """Return the connection that kubectl would use: `kubeconfig`, else KUBECONFIG, else ~/.kube/config.

    Inside a Pod without a kubeconfig, it uses the service account.

    Raises:
        ConnectionConfigError: there is no usable configuration, or it lacks the context.
    """
    configuration = Configuration(connection_pool_maxsize=_CONNECTIONS)
    configuration.retries = None  # callers know whether a request may be retried; 0 would mean retry forever
    if _is_inside(context, kubeconfig):
        config.load_incluster_config(client_configuration=configuration)
        return Connection(configuration=configuration, namespace=_own_namespace())
    files = _files(kubeconfig)
    namespace = await _load(configuration, files, context)
    if urlsplit(configuration.host).scheme not in {"http", "https"}:
        raise ConnectionConfigError(f"{files}: names no API server ({configuration.host!r}). Correct the server URL.")
    return Connection(configuration=configuration, namespace=namespace)


async def _load(configuration: Configuration, files: str, context: str | None) -> str:
    """Fill in `configuration` and return the context's namespace."""
    try:
        loader = await config.load_kube_config(
            config_file=files, context=context, client_configuration=configuration, persist_config=False
        )
        return str(loader.current_context["context"].get("namespace") or _DEFAULT_NAMESPACE)
    except (ConfigException, OSError) as error:
        raise ConnectionConfigError(f"{files}: {error}{_remedy(files, context)}") from error
    except (YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:  # the library on malformed files
        message = f"{files}: is not a kubeconfig ({' '.join(str(error).split())}). Name another with --kubeconfig."
        raise ConnectionConfigError(message) from error


def _files(kubeconfig: str | None) -> str:
    """Return the kubeconfig file, or the files to merge if KUBECONFIG lists several; at least one exists."""
    files = kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT_FILE  # noqa: TID251 - the convention of every client
    files = os.pathsep.join(os.path.expanduser(each) for each in files.split(os.pathsep))  # noqa: PTH111 - never raises
    if not any(Path(each).exists() for each in files.split(os.pathsep)):
        raise ConnectionConfigError(f"{files}: no such file. Name one with --kubeconfig or KUBECONFIG.")
    return files


def _remedy(files: str, context: str | None) -> str:
    """Return the remedy; for an unknown context it lists the known ones."""
    try:
        known = [each["name"] for each in config.list_kube_config_contexts(files)[0]]
    except (ConfigException, OSError, YAMLError, AttributeError, KeyError, TypeError):
        known = []
    if context is None or context in known or not known:
        return ". Name a file with --kubeconfig or KUBECONFIG."
    return f". Known contexts: {', '.join(known)}."


def _is_inside(context: str | None, kubeconfig: str | None) -> bool:
    return context is None and kubeconfig is None and _in_pod() and not os.environ.get("KUBECONFIG")  # noqa: TID251 - the convention of every client


def _in_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and _NAMESPACE_FILE.exists()  # noqa: TID251 - the edge


def _own_namespace() -> str:
    return _NAMESPACE_FILE.read_text(encoding="ascii").strip()
