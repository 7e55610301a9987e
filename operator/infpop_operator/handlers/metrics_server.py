"""The operator's `/metrics` endpoint, served by the operator's own event loop: while it is blocked, scrapes fail."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial

from aiohttp import hdrs, web

from infpop_operator.cluster.metrics.exposition import MetricsPage
from infpop_operator.core.errors import SettingError
from infpop_operator.settings import METRICS_PORT_VARIABLE


@contextlib.asynccontextmanager
async def serve_metrics(page: MetricsPage, *, port: int) -> AsyncIterator[None]:
    """Serve `/metrics` on every address until the `with` block ends.

    Raises:
        SettingError: the operator cannot listen on the port.
    """
    application = web.Application()
    application.router.add_get("/metrics", partial(_answer, page))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await _listen(runner, port)
        yield
    finally:
        await runner.cleanup()


async def _answer(page: MetricsPage, request: web.Request) -> web.Response:
    accept = ",".join(request.headers.getall(hdrs.ACCEPT, []))
    compressed = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    rendered = await page.render(accept, compressed=compressed)
    encoding = {hdrs.CONTENT_ENCODING: "gzip"} if compressed else {}
    return web.Response(body=rendered.body, headers={hdrs.CONTENT_TYPE: rendered.content_type, **encoding})


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, None, port).start()
    except OSError as error:
        remedy = f"Choose another port with --metrics-port or {METRICS_PORT_VARIABLE}"
        raise SettingError(f"cannot listen on port {port} for /metrics: {error}. {remedy}.") from error
