"""Tell from an answer of the API server what is wrong: a code alone says too little. Pure."""

import json
import re

from infpop_operator.adapters.kube.errors import (
    KubeConflictError,
    KubeError,
    KubeExistsError,
    KubeForbiddenError,
    KubeNamespaceTerminatingError,
    KubeNotFoundError,
    KubeQuotaError,
    KubeRefusedError,
    KubeUnavailableError,
    quota_words,
)

UNAUTHORIZED = 401
_CONFLICT, _NOT_FOUND = 409, 404
_TERMINATING = "because it is being terminated"  # of a namespace; the reason is "forbidden"
_FORBIDDEN = re.compile(r'User "[^"]*" cannot ')
_REFUSED = (400, 401, 403, 405, 413, 422)
_LONGEST_MESSAGE = 600


def error_of(request: str, code: int, answer: bytes) -> KubeError:
    """Return the error that an answer without success means.

    Args:
        request: names the request in the message.
        code: HTTP status code.
        answer: body of the answer, a Status of Kubernetes or any other text, as a proxy in between may send.
    """
    reason, message = _explanation(answer)
    text = f"{request}: {code} {reason}: {message}"[:_LONGEST_MESSAGE]
    if code == _CONFLICT:
        return KubeExistsError(text) if reason == "AlreadyExists" else KubeConflictError(text)
    if code == _NOT_FOUND:
        return KubeNotFoundError(text)
    if code == UNAUTHORIZED or _FORBIDDEN.search(message):
        return KubeForbiddenError(text)
    return _refusal(request, text, message) if code in _REFUSED else KubeUnavailableError(text)


def _refusal(request: str, text: str, message: str) -> KubeError:
    if message.endswith(_TERMINATING):
        return KubeNamespaceTerminatingError(text)
    quota = quota_words(message)
    return KubeRefusedError(text) if quota is None else KubeQuotaError(f"{request}: {quota}"[:_LONGEST_MESSAGE])


def _explanation(answer: bytes) -> tuple[str, str]:
    try:
        status = json.loads(answer)
        return (str(status.get("reason", "")), str(status.get("message", "")))
    except (ValueError, AttributeError):
        return ("", answer.decode(errors="replace"))
