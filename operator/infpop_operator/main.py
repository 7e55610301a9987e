"""For `kopf run -m infpop_operator.main`: importing this adds the operator to kopf's own registry.

kopf's options decide what is watched and where probes are answered; the environment decides the rest, as it does for
`infpop operator`. KUBECONFIG and the service account are found as kubectl finds them.
"""

import os

import kopf

from infpop_operator.adapters.kube.connection import find_connection
from infpop_operator.handlers.operator import wire
from infpop_operator.settings import settings_from

wire(
    kopf.get_default_registry(),
    settings_from(os.environ, namespace=None),  # noqa: TID251 - the edge
    find_connection,
)
