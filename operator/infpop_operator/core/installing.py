"""How a user installs what a command needs and this environment lacks."""


def install_command(extra: str) -> str:
    """Return what to run for an extra of the distribution; InfPop is on no package index."""
    return f"pip install '.[{extra}]' in a checkout of InfPop"
