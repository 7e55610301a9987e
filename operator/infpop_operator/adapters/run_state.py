"""Ask a live runner on this machine where it is, through its own metrics.

A runner that does not answer is starting, busy or dying; none of this is an error here, it is `Phase.STARTING` or the
last that was known. Numbers are never taken from here: results come from the result file.
"""

import re
from pathlib import Path

import httpx

from infpop_operator.core.model import Phase, Running

_TIMEOUT_S = 1.0
_STATE = re.compile(r'^infpop_run_state\{[^}]*\bstate="([a-z-]+)"[^}]*\} 1(?:\.0)?$', re.MULTILINE)
_TRIAL = re.compile(
    r'^infpop_trial_state\{(?=[^}]*\bstate="(?:warm-up|measuring)")[^}]*\btrial="(\d+)"[^}]*\} 1(?:\.0)?$', re.MULTILINE
)
_PHASES = {
    "loading": Phase.LOADING,
    "warm-up": Phase.WARMING_UP,
    "measuring": Phase.MEASURING,
    "done": Phase.DONE,
}


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
        return parse_running(response.text) if response.is_success else None


def parse_running(metrics: str) -> Running | None:
    """Return the phase and the trial that a runner's metrics tell, None when they tell no known phase."""
    state = _STATE.search(metrics)
    if state is None or state[1] not in _PHASES:
        return None
    trial = _TRIAL.search(metrics)
    return Running(phase=_PHASES[state[1]], trial_index=int(trial[1]) if trial else None)
