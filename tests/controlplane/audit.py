"""Read the API server's audit log: who made each request, and with which answer."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

Document = dict[str, Any]

# Metadata of everything. A request is logged when it ends; a watch also when it starts, since it may last long.
POLICY = json.dumps(
    {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One request. A watch that still lasts is one as well."""

    verb: str
    resource: str  # with the subresource: "pods/status"; empty for paths such as /readyz
    namespace: str
    name: str
    uri: str
    user: str
    user_agent: str
    code: int
    received_at: datetime
    answered_at: datetime  # for a watch that still lasts: when it began to stream


def read_audit_log(path: Path, *, about: str = "") -> list[AuditEntry]:
    """Return one entry for each request, in the order in which requests ended or began to stream.

    Only requests whose text contains `about`, for example a namespace: the log of a whole session is long.
    """
    entries: dict[str, AuditEntry] = {}
    for document in _documents(path, about):
        if document["auditID"] not in entries:
            entries[document["auditID"]] = _parse(document)
    return list(entries.values())


def _documents(path: Path, about: str) -> Iterator[Document]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if about in line and line.endswith("\n"):  # the last line may be half written
                yield json.loads(line)


def _parse(document: Document) -> AuditEntry:
    target = document.get("objectRef", {})
    resource = target.get("resource", "")
    return AuditEntry(
        verb=document["verb"],
        resource=f"{resource}/{target['subresource']}" if "subresource" in target else resource,
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        uri=document["requestURI"],
        user=document.get("user", {}).get("username", ""),
        user_agent=document.get("userAgent", ""),
        code=document.get("responseStatus", {}).get("code", 0),
        received_at=datetime.fromisoformat(document["requestReceivedTimestamp"]),
        answered_at=datetime.fromisoformat(document["stageTimestamp"]),
    )
