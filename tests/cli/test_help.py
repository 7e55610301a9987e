"""Every help page says first what the command does and last what its exit codes mean."""

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from infpop_operator.cli.main import app

GROUP = get_command(app)
COMMANDS = [[], *([name] for name in GROUP.commands if name != "replay"), ["replay", "search"], ["replay", "retune"]]  # type: ignore[attr-defined]


def help_of(command: list[str], width: int) -> list[str]:
    """Return the lines of a help page on a terminal of `width` columns."""
    done = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": str(width), "TERMINAL_WIDTH": str(width)})
    assert done.exit_code == 0, done.output
    return [line.rstrip() for line in done.stdout.splitlines() if line.strip()]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_begins_with_the_purpose_and_ends_with_the_exit_codes(command: list[str], width: int) -> None:
    """A reader sees what a command does without scrolling, and no line is wider than the terminal."""
    lines = help_of(command, width)
    panel = next(place for place, line in enumerate(lines) if line.startswith("╭"))
    usage = next(place for place, line in enumerate(lines) if line.strip().startswith("Usage:"))
    codes = lines.index(" Exit codes:")
    assert usage == 0
    assert any(line.strip().split()[0].istitle() for line in lines[1:panel])
    assert not any(line.startswith(("╭", "│", "╰")) for line in lines[codes:])
    assert lines[codes + 1].split()[0] == "0"
    assert all(len(line) <= width for line in lines)


def test_a_command_without_a_study_says_nothing_about_one() -> None:
    """The codes of a command are its own."""
    assert not any("study" in line for line in help_of(["crds"], 80)[2:])
    assert any("the two must not be compared" in line for line in help_of(["compare"], 80))
