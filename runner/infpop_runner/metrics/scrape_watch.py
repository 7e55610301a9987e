"""Know whether a scrape has seen the last values of a run."""

import threading


class ScrapeWatch:
    """Shared by the threads that answer scrapes, the one that waits for one, and the one that may end the wait.

    A scrape counts if it began after the last value was set, and was answered in full.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = False
        self._over = threading.Event()
        self._final = False

    @property
    def final(self) -> bool:
        """Whether the values will not change any more. A scrape asks before it collects them."""
        return self._final

    def values_are_final(self) -> None:
        """Say that no value will change any more."""
        self._final = True

    def saw_final_values(self) -> None:
        """Say that a scrape that began when the values were final was answered in full."""
        self._over.set()

    def hold(self, seconds: float) -> bool:
        """Wait until a scrape has seen the final values, which may be so already, but no longer than `seconds`.

        Returns whether the wait ended before its time, by a scrape or by `release`.
        """
        with self._lock:
            self._held = True
        return self._over.wait(seconds)

    def release(self) -> bool:
        """End the wait and return True if there is or was one; otherwise do nothing and return False."""
        with self._lock:
            if self._held:
                self._over.set()
            return self._held
