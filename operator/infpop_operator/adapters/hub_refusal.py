"""What the Hugging Face hub said no to, without the hub's own library."""


class HubRefusal(Exception):  # noqa: N818 - not an error of this program: an answer
    """The hub answered, and the answer is no: `field` of `spec.model` is wrong."""

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.remedy = remedy
