"""What the API server's refusals mean to us. The client library may change, so its exceptions stay in `client`.

KubeError
├── KubeConflictError     somebody else changed the object meanwhile: look again
├── KubeExistsError       an object of that name is there already
├── KubeNamespaceTerminatingError       the namespace is being deleted: nothing new can be in it
├── KubeNotFoundError      there is no such object
├── KubeRefusedError      forbidden, invalid or against a policy: trying again changes nothing
│   ├── KubeForbiddenError   not by us: our account lacks the right, or the server does not know it yet
│   └── KubeQuotaError    against a quota: there may be room later
└── KubeUnavailableError  no answer, an overload or a defect of the server: try again later
"""

from infpop_operator.core.errors import InfPopError


class KubeError(InfPopError):
    """Base of what can go wrong between us and the API server."""


class KubeConflictError(KubeError):
    """The object changed since we read it (409)."""


class KubeExistsError(KubeError):
    """An object of that name exists (409, AlreadyExists)."""


class KubeNamespaceTerminatingError(KubeError):
    """The namespace is being deleted (403, NamespaceTerminating); what is in it goes by itself."""


class KubeNotFoundError(KubeError):
    """The object does not exist (404)."""


class KubeRefusedError(KubeError):
    """The server understood and refused (400, 401, 403, 422): the message says why."""


class KubeForbiddenError(KubeRefusedError):
    """Whoever asks lacks the right (401, 403): the request is as it should be.

    An API server that has just started says so to everybody for a second, until it has read who may do what.
    """


class KubeQuotaError(KubeRefusedError):
    """A quota of the namespace is used up (403, "exceeded quota"); the message has the quota's own words."""


class KubeUnavailableError(KubeError):
    """No answer, 429 or 5xx. The request may have been carried out all the same."""


def quota_words(refusal: str) -> str | None:
    """Return what a refusal says of a quota (which one, what is asked for, what is left), None where it is another."""
    _, found, words = refusal.partition("exceeded quota")
    return found + words if found else None
