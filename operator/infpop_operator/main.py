"""For `kopf run -m infpop_operator.main`: importing this adds the operator to kopf's own registry.

kopf's options decide what is watched and where probes are answered; the environment decides the rest, as it does for
`infpop operator`. Both have to name the same namespace: kopf tells its handlers nothing of its own. KUBECONFIG and the
service account are found as kubectl finds them.
"""

import os

import click
import kopf

from infpop_operator.adapters.kube.connection import find_connection
from infpop_operator.core.errors import SettingError
from infpop_operator.handlers.operator import wire
from infpop_operator.settings import check_watched, settings_from

_context = click.get_current_context(silent=True)  # of `kopf run`, which imports this
try:
    _settings = settings_from(os.environ, namespace=None)  # noqa: TID251 - the edge
    if _context is not None and "namespaces" in _context.params:
        _older = os.environ.get("KOPF_RUN_NAMESPACE")  # noqa: TID251 - kopf's own, added to its option
        check_watched(_settings, {*_context.params["namespaces"], *([_older] if _older else [])})
except SettingError as error:
    raise click.UsageError(str(error)) from error
wire(kopf.get_default_registry(), _settings, find_connection)
