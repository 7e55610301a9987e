"""Give kopf the credentials that our own client found, so that both talk to the same API server as the same user."""

import kopf

from infpop_operator.adapters.kube.connection import Credentials, FindConnection


def register_login(registry: kopf.OperatorRegistry, find: FindConnection) -> None:
    """Have kopf log in with what `find` returns, and again whenever the API server takes it no more."""

    async def login(**_: object) -> kopf.ConnectionInfo:
        return to_connection_info((await find()).credentials)

    kopf.on.login(registry=registry, id="connection")(login)


def to_connection_info(credentials: Credentials) -> kopf.ConnectionInfo:
    """Return the credentials in kopf's words."""
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
