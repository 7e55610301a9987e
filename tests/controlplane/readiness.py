"""Wait until a program answers at its address."""

import httpx

from controlplane.processes import Process
from controlplane.waiting import wait_for


def wait_until_ready(process: Process, url: str, *, seconds: float) -> None:
    """Return when a started process answers a request with success.

    Raises:
        ProcessDiedError: it ended by itself.
        TimeoutError: it did not answer so in time.
    """

    def answers() -> bool:
        process.check()
        try:
            return httpx.get(url, trust_env=False).is_success
        except httpx.TransportError:
            return False

    wait_for(answers, seconds=seconds, what=url)
