"""The error for a refusal by the Hugging Face hub, defined without the hub's own library."""


class HubRefusal(Exception):  # noqa: N818 - an answer of the hub, not an error of InfPop
    """The hub answered and refused: `field` of `spec.model` is wrong."""

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.remedy = remedy
