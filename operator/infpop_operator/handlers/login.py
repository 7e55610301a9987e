"""Give kopf the credentials of the operator's own client, so that both use the same API server as the same user."""

import kopf

from infpop_operator.adapters.kube.connection import Credentials, FindConnection


def register_login(registry: kopf.OperatorRegistry, find: FindConnection) -> None:
    """Register a login handler: kopf logs in with what `find` returns, and again after the API server rejects it."""

    async def login(**_: object) -> kopf.ConnectionInfo:
        return to_connection_info((await find()).credentials)

    kopf.on.login(registry=registry, id="connection")(login)


def to_connection_info(credentials: Credentials) -> kopf.ConnectionInfo:
    """Return the credentials as kopf's connection info."""
    return kopf.ConnectionInfo(
        server=credentials.server,
        ca_path=credentials.ca_path,
        insecure=credentials.insecure,
        scheme=None if credentials.token is None else "Bearer",
        token=credentials.token,
        certificate_path=credentials.certificate_path,
        private_key_path=credentials.private_key_path,
        proxy_url=credentials.proxy,
    )
