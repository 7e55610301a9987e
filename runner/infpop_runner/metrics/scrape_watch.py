"""Track whether a scrape has read the final values of a run."""

import threading


class ScrapeWatch:
    """Shared by the threads that serve scrapes, the thread that waits for one, and the thread that may end the wait.

    A scrape counts if it started after the last value was set, and the client read the whole response.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = False
        self._over = threading.Event()
        self._final = False

    @property
    def final(self) -> bool:
        """Whether the values are final. A scrape must check this before it collects them."""
        return self._final

    def values_are_final(self) -> None:
        """Mark the values as final: none will change any more."""
        self._final = True

    def saw_final_values(self) -> None:
        """Record that a scrape, started after the values were final, has read the whole response."""
        self._over.set()

    def hold(self, seconds: float) -> bool:
        """Wait until a scrape has read the final values, or has already done so, but no longer than `seconds`.

        Returns whether a scrape or `release` ended the wait before its time.
        """
        with self._lock:
            self._held = True
        return self._over.wait(seconds)

    def release(self) -> bool:
        """If there is or was a wait, end it and return True; otherwise do nothing and return False."""
        with self._lock:
            if self._held:
                self._over.set()
            return self._held
