"""Studies resolved against the Nodes of a cluster; each keyword replaces a part of the spec."""

from collections.abc import Sequence

from factories.kube_objects import OWNER, make_node
from factories.studies import START
from factories.study_documents import make_study_document
from infpop_operator.adapters.kube.records import Body, NodeRecord
from infpop_operator.api.status_model import StudyStatus
from infpop_operator.cluster.resolve import ResolvedStudy, join_nodes, owner_of, parse_study
from infpop_operator.core.model import History
from infpop_operator.settings import Settings

SETTINGS = Settings(runner_image="example.org/runner:1")


def resolve_study(
    body: Body,
    nodes: Sequence[NodeRecord],
    history: History,
    settings: Settings = SETTINGS,
    *,
    previous: StudyStatus | None = None,
) -> ResolvedStudy:
    """Return the study that `body` describes, on these nodes."""
    document = parse_study(body, settings)
    return join_nodes(document, owner_of(body), nodes, history, settings, previous=previous)


def make_resolved(*nodes: NodeRecord, settings: Settings = SETTINGS, **spec: object) -> ResolvedStudy:
    """Return a study on these Nodes, by default on one Node with eight A100s."""
    body = make_study_document(OWNER.name, OWNER.namespace, **spec)
    body["metadata"] |= {"uid": OWNER.uid, "generation": 1}
    return resolve_study(body, nodes or (make_node(),), History(started_at=START), settings)
