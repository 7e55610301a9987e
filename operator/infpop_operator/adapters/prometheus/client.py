"""Send one request to the HTTP API of Prometheus, and turn every outcome into a `Reply`.

Nothing raises. Each request has a time-out from the settings, and the size of a response is limited.
"""

import asyncio
from collections.abc import Callable

import httpx

from infpop_operator import __version__
from infpop_operator.adapters.limited_response import read_limited
from infpop_operator.adapters.prometheus.access import Access, AccessError
from infpop_operator.adapters.prometheus.answers import (
    BAD_ANSWER,
    REJECTED,
    TIMED_OUT,
    UNREACHABLE,
    Answer,
    Failure,
    Reply,
    parse_answer,
    parse_refusal,
)
from infpop_operator.adapters.prometheus.promql import Query
from infpop_operator.settings import PrometheusSettings

MOST_BYTES = 2 * 1024 * 1024  # eight trials that were scraped every second for two hours
_HEADERS = {"User-Agent": f"infpop/{__version__}", "Accept": "application/json", "Accept-Encoding": "identity"}


class PrometheusClient:
    """Sends single requests to Prometheus; the owner closes it.

    Args:
        settings: the address of Prometheus, and the access to it.
        count: called once per request, with "ok" or the reason of the failure.
    """

    def __init__(self, settings: PrometheusSettings, count: Callable[[str], None]) -> None:
        self._settings = settings
        self._access = Access(settings)
        self._count = count

    async def aclose(self) -> None:
        """Close the connections."""
        await self._access.aclose()

    async def ask(self, query: Query) -> Reply:
        """Return the answer to an instant query, or why there is none."""
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                reply = await self._post(self._form(query))
        except (TimeoutError, httpx.TimeoutException):
            detail = f"no answer within {self._settings.timeout_seconds:g} s"
            reply = Failure(reason=TIMED_OUT, detail=detail, passing=True)
        except AccessError as error:
            reply = Failure(reason=UNREACHABLE, detail=str(error), passing=True)
        except UnicodeError:  # of the query: everything else was checked before
            reply = Failure(reason=REJECTED, detail="the query is not valid text", passing=False)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reply = Failure(reason=UNREACHABLE, detail=_describe(error), passing=True)
        self._count("ok" if isinstance(reply, Answer) else reply.reason)
        return reply

    def _form(self, query: Query) -> dict[str, str]:
        form = {"query": query.promql, "timeout": f"{max(1, round(self._settings.timeout_seconds))}s"}
        if query.at is not None:
            form["time"] = f"{query.at.timestamp():.3f}"
        if query.lookback_seconds is not None:
            form["lookback_delta"] = f"{query.lookback_seconds}s"
        return form

    async def _post(self, form: dict[str, str]) -> Reply:
        client, headers = await self._access.current()
        url = f"{self._settings.url}/api/v1/query"
        async with client.stream("POST", url, data=form, headers={**_HEADERS, **headers}) as response:
            content = await read_limited(response, MOST_BYTES)
        if content is None:
            detail = f"the answer is compressed, or longer than {MOST_BYTES} bytes"
            return Failure(reason=BAD_ANSWER, detail=detail, passing=False)
        if response.status_code == httpx.codes.OK:
            return await asyncio.to_thread(parse_answer, content)  # a long answer takes a tenth of a second
        return parse_refusal(response.status_code, content)


def _describe(error: Exception) -> str:
    """Return what happened; only the message of a connection error is known to contain nothing of the request."""
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, httpx.ConnectError) else kind
