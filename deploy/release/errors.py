"""Why a release cannot go on."""


class ReleaseError(Exception):
    """The release stops here; the message names what is wrong and the remedy."""
