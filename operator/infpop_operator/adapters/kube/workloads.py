"""Read from Kueue's Workload of a Job why Kueue holds the Job back. Pure.

Only the words are read, for the status: no decision depends on them. They are Kueue's own, of v1beta1 and v1beta2.
"""

from collections.abc import Iterator, Mapping, Sequence

from infpop_operator.adapters.conclude import last_output
from infpop_operator.adapters.kube.records import Body

NO_KUEUE = (
    "the Job is suspended until its queue has capacity, but the cluster has no Workloads of Kueue: install Kueue, or "
    "remove scheduling.queueName"
)
NO_QUEUE = "the Job is suspended, but not by a queue of the study: resume it where it was suspended"
NO_WORKLOAD = "Kueue has no Workload for the Job yet; it makes none where it does not run, or ignores the namespace"


def why_queued(workloads: Sequence[Body]) -> str:
    """Return why Kueue holds back the Job of these Workloads, in Kueue's words; the newest Workload counts."""
    if not workloads:
        return NO_WORKLOAD
    newest = max(workloads, key=lambda workload: str(workload["metadata"].get("creationTimestamp", "")))
    words = "; ".join(dict.fromkeys(_reasons(newest)))
    return f"Kueue: {words}" if words else "Kueue has not considered the Job yet"


def _reasons(workload: Body) -> Iterator[str]:
    """Yield each reason once: why the Workload was evicted, has no quota, waits for a check, or is switched off."""
    status = workload.get("status") or {}
    conditions = {str(each.get("type")): each for each in status.get("conditions") or ()}
    if (workload.get("spec") or {}).get("active") is False:
        yield "the Workload is deactivated (spec.active is false)"
    reserved, evicted = conditions.get("QuotaReserved", {}), conditions.get("Evicted", {})
    if reserved.get("status") != "True":
        yield from _words(reserved)
    else:
        yield from (_check(each) for each in status.get("admissionChecks") or () if each.get("state") != "Ready")
        if conditions.get("Admitted", {}).get("status") == "False":
            yield from _words(conditions["Admitted"])
    if evicted.get("status") == "True":
        yield from (f"evicted: {words}" for words in _words(evicted))


def _words(condition: Mapping[str, str]) -> Iterator[str]:
    words = ": ".join(part for part in (condition.get("reason"), last_output(condition.get("message") or "")) if part)
    if words:
        yield words


def _check(check: Mapping[str, str]) -> str:
    parts = (f"admission check {check.get('name')}", check.get("state"), last_output(check.get("message") or ""))
    return ": ".join(part for part in parts if part)
