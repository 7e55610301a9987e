"""Which API server to talk to and as whom: kubeconfig conventions outside a cluster, the service account inside."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException

from infpop_operator.core.errors import InfPopError

_CONNECTIONS = 32  # requests at once: workers, the tick and the resync together need fewer
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DEFAULT_NAMESPACE = "default"


class ConnectionConfigError(InfPopError):
    """No way to a cluster is configured; the message names what was looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The same connection for another client library: paths of PEM files, or a bearer token."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    token: str | None = field(repr=False)
    insecure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A configured way to one API server, and the namespace that commands use when none is named."""

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
        )


async def find_connection(*, context: str | None = None, kubeconfig: str | None = None) -> Connection:
    """Return the connection that kubectl would use: `kubeconfig`, else KUBECONFIG, else ~/.kube/config.

    Inside a pod, where no kubeconfig is, the service account is used.

    Raises:
        ConnectionConfigError: there is no usable configuration, or it has no such context.
    """
    configuration = Configuration(connection_pool_maxsize=_CONNECTIONS)
    configuration.retries = 0  # whoever asks knows whether a request may be repeated
    if _is_inside(context, kubeconfig):
        config.load_incluster_config(client_configuration=configuration)
        return Connection(configuration=configuration, namespace=_own_namespace())
    try:
        loader = await config.load_kube_config(
            config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
        )
    except (ConfigException, OSError) as error:
        where = kubeconfig or "KUBECONFIG or ~/.kube/config"
        raise ConnectionConfigError(f"{where}: {error}. Name a file with --kubeconfig or KUBECONFIG.") from error
    chosen = loader.current_context["context"] if loader is not None else {}
    return Connection(configuration=configuration, namespace=chosen.get("namespace") or _DEFAULT_NAMESPACE)


def _is_inside(context: str | None, kubeconfig: str | None) -> bool:
    return context is None and kubeconfig is None and _in_pod() and "KUBECONFIG" not in os.environ  # noqa: TID251 - the convention of every client


def _in_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and _NAMESPACE_FILE.exists()  # noqa: TID251 - the edge


def _own_namespace() -> str:
    return _NAMESPACE_FILE.read_text(encoding="ascii").strip()
