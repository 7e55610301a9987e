"""Run promtool, Prometheus' own checker of metrics, rules and configurations."""

import subprocess

from prometheus.binaries import find_binaries

_SECONDS = 60.0


def promtool(*arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002 - as subprocess calls it
    """Run promtool, whatever its exit status."""
    return subprocess.run(
        [str(find_binaries().promtool), *arguments],
        input=input,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def complaints_about(exposition: str) -> list[str]:
    """Return what `promtool check metrics` reports about a scraped text in Prometheus' text format."""
    done = promtool("check", "metrics", input=exposition)
    lines = f"{done.stdout}{done.stderr}".splitlines()
    assert lines or done.returncode == 0, f"promtool check metrics: exit status {done.returncode}"
    return lines
