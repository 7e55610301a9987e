"""Ask a live runner on this machine where it is, through its own metrics.

A runner that does not answer is starting, busy or dying; none of this is an error here, it is `Phase.STARTING` or the
last that was known. Numbers are never taken from here: results come from the result file.
"""

from pathlib import Path

import httpx

from infpop_operator.adapters.runner_metrics import parse_samples, to_running
from infpop_operator.core.model import Running

_TIMEOUT_S = 1.0


class RunStates:
    """Reads the metrics of runners on this machine; `close` it."""

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(timeout=_TIMEOUT_S, transport=transport, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, port_file: Path) -> Running | None:
        """Return where the runner is that wrote its port to `port_file`, None when it does not say."""
        try:
            port = int(port_file.read_text(encoding="ascii"))
            response = self._client.get(f"http://127.0.0.1:{port}/metrics")
        except (OSError, ValueError, httpx.HTTPError):
            return None
        return to_running(parse_samples(response.text)) if response.is_success else None
