"""Compute metrics from the API server's audit log: transitions between runs, and requests by kind. Pure functions."""

import itertools
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from controlplane.audit import AuditEntry

OPERATOR = "system:serviceaccount:infpop:infpop-operator"
KUBELET_AGENT = "simulated-kubelet"
CREATED = 201
FIRST_ERROR = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """Seconds from the answer to the kubelet's patch that ends a run to the answer to the POST of the next Job.

    `to_journal` ends when the operator's next journal write reaches the API server: until then the time is spent in the
    watch and the decision, afterwards in the API server, which stores the step and creates the Job.
    """

    study: str
    total: float
    to_journal: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """The operator's requests in a period, including kopf's watches."""

    seconds: float
    total: int
    jobs_created: int
    by_kind: Counter[str]
    errors: Counter[str]


def is_operator(entry: AuditEntry) -> bool:
    """Return whether the request used the operator's account, by InfPop's own client or by kopf."""
    return entry.user == OPERATOR


def transitions(
    entries: Iterable[AuditEntry], studies: frozenset[str], gap: tuple[datetime, datetime] | None
) -> tuple[Transition, ...]:
    """Return the transitions of studies that run one trial at a time.

    Args:
        entries: entries of the audit log, in any order.
        studies: the names of the studies; a run's name is the study's, a dash and ten letters.
        gap: the downtime of the operator; overlapping transitions are omitted.
    """
    created: defaultdict[str, list[tuple[datetime, str]]] = defaultdict(list)
    journaled: defaultdict[str, list[datetime]] = defaultdict(list)
    ended: dict[str, datetime] = {}
    for entry in entries:
        if is_operator(entry) and (entry.verb, entry.resource, entry.code) == ("create", "jobs", CREATED):
            created[study_of(entry.name)].append((entry.answered_at, entry.name))
        elif is_operator(entry) and entry.resource == "configmaps" and entry.verb in {"patch", "create"}:
            journaled[entry.name.split("-journal-")[0].rsplit("-", 1)[0]].append(entry.received_at)
        elif entry.user_agent == KUBELET_AGENT and (entry.verb, entry.resource) == ("patch", "pods/status"):
            ended[study_of(entry.name)] = entry.answered_at  # of a run: a Pod's name is that and a suffix
    found = []
    for study in studies & created.keys():
        jobs = sorted(created[study])
        for (_, run), (next_at, _) in itertools.pairwise(jobs):
            seen_at = ended[run]
            if gap is not None and seen_at <= gap[1] and next_at >= gap[0]:
                continue
            journal_at = max(at for at in journaled[study] if at <= next_at)
            found.append(
                Transition(
                    study=study,
                    total=(next_at - seen_at).total_seconds(),
                    to_journal=(journal_at - seen_at).total_seconds(),
                )
            )
    return tuple(found)


def study_of(name: str) -> str:
    """Return the name of the parent: the study of a run, the run of a Pod."""
    return name.rsplit("-", 1)[0]


def requests_in(entries: Iterable[AuditEntry], began: datetime, ended: datetime) -> Requests:
    """Return the operator's requests that arrived between two instants."""
    own = [entry for entry in entries if is_operator(entry) and began <= entry.received_at < ended]
    return Requests(
        seconds=(ended - began).total_seconds(),
        total=len(own),
        jobs_created=sum((entry.verb, entry.resource) == ("create", "jobs") for entry in own),
        by_kind=Counter(f"{entry.verb} {entry.resource or entry.uri}" for entry in own),
        errors=Counter(f"{e.code} {e.verb} {e.resource}" for e in own if e.code >= FIRST_ERROR),
    )


def depths(path: Path, began: datetime, ended: datetime) -> dict[str, Any]:
    """Return the greatest depth of the operator's work queue, and the spread of the greatest depth of each second."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [line for line in lines if began <= datetime.fromisoformat(line["at"]) < ended]
    peaks = [line["peak"] for line in lines]
    passes = sum(line["passes"] for line in lines)
    return {"peak_depth": max(peaks), "depth_of_each_second": spread(peaks), "passes": passes}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return p50, p95 and maximum, in thousandths."""
    if len(values) < 2:  # noqa: PLR2004 - quantiles need two
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 3), "p95": round(cuts[94], 3), "max": round(max(values), 3)}
