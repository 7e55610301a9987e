"""Read the phase of a live runner on this machine from its metrics endpoint.

A runner that does not answer is starting, busy or ending. None of this is an error: its phase is then the last known
one, at first `Phase.STARTING`. Numbers are never read here: results come from the result file.
"""

from pathlib import Path

import httpx

from infpop_operator.adapters.runner_metrics import parse_samples, to_running
from infpop_operator.core.model import Running

_TIMEOUT_S = 1.0


class RunStates:
    """Reads the metrics of runners on this machine; the owner closes it."""

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(timeout=_TIMEOUT_S, transport=transport, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, port_file: Path) -> Running | None:
        """Return the phase of the runner that wrote its port to `port_file`, None if it does not answer."""
        try:
            port = int(port_file.read_text(encoding="ascii"))
            response = self._client.get(f"http://127.0.0.1:{port}/metrics")
        except (OSError, ValueError, httpx.HTTPError):
            return None
        return to_running(parse_samples(response.text)) if response.is_success else None
