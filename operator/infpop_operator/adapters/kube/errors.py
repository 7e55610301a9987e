"""The errors of requests to the API server. The client library may change, so its exceptions stay in `client`.

KubeError
├── KubeConflictError                another client changed the object: read it again
├── KubeExistsError                  an object of that name already exists
├── KubeNamespaceTerminatingError    the namespace is being deleted: nothing can be created in it
├── KubeNotFoundError                the object does not exist
├── KubeRefusedError                 forbidden, invalid or against a policy: a retry changes nothing
│   ├── KubeForbiddenError           the account lacks the right, or the API server has not loaded it yet
│   └── KubeQuotaError               a quota is used up: there may be room later
└── KubeUnavailableError             no response, an overload or a defect of the server: retry later
"""

from infpop_operator.core.errors import InfPopError


class KubeError(InfPopError):
    """Base class of the errors of a request to the API server."""


class KubeConflictError(KubeError):
    """The object changed after it was read (409)."""


class KubeExistsError(KubeError):
    """An object of that name exists (409, AlreadyExists)."""


class KubeNamespaceTerminatingError(KubeError):
    """The namespace is being deleted (403, NamespaceTerminating), and with it every object in it."""


class KubeNotFoundError(KubeError):
    """The object does not exist (404)."""


class KubeRefusedError(KubeError):
    """The API server understood the request and refused it (400, 401, 403, 422); the message says why."""


class KubeForbiddenError(KubeRefusedError):
    """The account lacks the right to make the request (401, 403); the request itself is valid.

    An API server that has just started refuses every account for about a second, until it has loaded the RBAC rules.
    """


class KubeQuotaError(KubeRefusedError):
    """A quota of the namespace is used up (403, "exceeded quota"); the message quotes the refusal's part about it."""


class KubeUnavailableError(KubeError):
    """No response, 429 or 5xx. The API server may still have executed the request."""


def quota_words(refusal: str) -> str | None:
    """Return the part of a refusal about a quota (which one, requested, used, limit), None if it has none."""
    _, found, words = refusal.partition("exceeded quota")
    return found + words if found else None
