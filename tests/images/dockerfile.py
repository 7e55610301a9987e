"""Read a Dockerfile: its instructions, without comments and with continued lines joined."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, such as `RUN` and its command."""

    name: str
    text: str


def parse_dockerfile(path: Path) -> tuple[Instruction, ...]:
    """Return the instructions of a Dockerfile in order."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return tuple(Instruction(name.upper(), text.strip()) for name, _, text in map(_split, joined.splitlines()))


def final_stage(instructions: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
    """Return the instructions from the last `FROM` on, which define the image."""
    last = max(place for place, each in enumerate(instructions) if each.name == "FROM")
    return instructions[last:]


def arguments(instructions: tuple[Instruction, ...]) -> dict[str, str]:
    """Return the defaults of the build arguments; an argument declared again without a default keeps its first."""
    defaults: dict[str, str] = {}
    for each in instructions:
        if each.name == "ARG":
            name, given, default = each.text.partition("=")
            if given or name not in defaults:
                defaults[name] = default
    return defaults


def _split(line: str) -> tuple[str, str, str]:
    return line.strip().partition(" ")
