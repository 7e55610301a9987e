"""The error for a refusal by the Hugging Face hub, defined without the hub's own library."""


class HubRefusal(Exception):  # noqa: N818 - an answer of the hub, not an error of InfPop
    """`field` of `spec.model` is wrong: the hub refuses it, or (`is_absence`) cannot be asked for it."""

    def __init__(self, field: str, message: str, remedy: str, *, is_absence: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.remedy = remedy
        self.is_absence = is_absence
