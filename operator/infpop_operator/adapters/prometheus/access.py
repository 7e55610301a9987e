"""Access to Prometheus: bearer token, extra headers and certificates, read from files for each request.

The contents of these files never appear in a message; only their names do.
"""

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from infpop_operator.core.errors import InfPopError
from infpop_operator.settings import PrometheusSettings

_CONNECTIONS = 16
_TOKEN = re.compile(r"[!-~]+")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ -~\t]*[!-~])?)[ \t]*")


class AccessError(InfPopError):
    """A file needed for access cannot be used; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """The current contents of the files."""

    headers: dict[str, str] = field(repr=False)
    tls: tuple[bytes | None, ...] = field(repr=False)


class Access:
    """Keeps connections to one Prometheus until it is closed; opens new ones when the certificates change.

    It uses no proxy and follows no redirect: a token goes only to the address in the settings.
    """

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings
        self._tls: tuple[bytes | None, ...] | None = None
        self._client: httpx.AsyncClient | None = None
        self._before: httpx.AsyncClient | None = None  # requests in flight may still use it

    async def aclose(self) -> None:
        """Close the connections."""
        for client in (self._client, self._before):
            if client is not None:
                await client.aclose()

    async def current(self) -> tuple[httpx.AsyncClient, dict[str, str]]:
        """Return the client and the headers for the next request.

        Raises:
            AccessError: a file cannot be read, or has invalid content.
        """
        files = await asyncio.to_thread(_read_files, self._settings)
        if self._client is None or files.tls != self._tls:
            client = _open(self._settings, _tls_context(self._settings))
            oldest, self._before, self._client, self._tls = self._before, self._client, client, files.tls
            if oldest is not None:
                await oldest.aclose()
            return client, files.headers
        return self._client, files.headers


def _open(settings: PrometheusSettings, context: ssl.SSLContext) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=_CONNECTIONS)
    return httpx.AsyncClient(
        verify=context, timeout=settings.timeout_seconds, trust_env=False, follow_redirects=False, limits=limits
    )


def _tls_context(settings: PrometheusSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise AccessError(f"{settings.ca_file}: holds no certificates") from error
    if settings.cert_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except OSError as error:
            raise AccessError(
                f"{settings.cert_file} and {settings.key_file}: are not a certificate and its key"
            ) from error
    return context


def _read_files(settings: PrometheusSettings) -> _Files:
    headers = {} if settings.headers_file is None else _parse_headers(settings.headers_file)
    if settings.token_file is not None:
        headers["Authorization"] = f"Bearer {_parse_token(settings.token_file)}"
    paths = (settings.ca_file, settings.cert_file, settings.key_file)
    return _Files(headers=headers, tls=tuple(None if path is None else _read(path) for path in paths))


def _parse_token(path: Path) -> str:
    token = _text(path).strip()
    if _TOKEN.fullmatch(token) is None:
        raise AccessError(f"{path}: holds no token")
    return token


def _parse_headers(path: Path) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        found = _HEADER.fullmatch(line)
        if found is None:
            raise AccessError(f"{path}, line {number}: is not a header such as X-Scope-OrgID: team")
        headers[found[1]] = found[2]
    return headers


def _text(path: Path) -> str:
    return _read(path).decode("latin-1")  # every byte is a character; non-ASCII ones are refused later


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AccessError(f"{path}: cannot be read ({error.strerror})") from error
