"""The module for `kopf run -m infpop_operator.main`: importing it adds the operator to kopf's default registry.

kopf's options set what kopf watches and where it answers probes. Environment variables set the rest, as they do for
`infpop operator`. Both have to name the same namespace, because kopf does not pass its own to handlers. The operator
finds KUBECONFIG and the service account in the same way as kubectl.
"""

import os

import click
import kopf

from infpop_operator.adapters.kube.connection import find_connection
from infpop_operator.core.errors import SettingError
from infpop_operator.handlers.operator import wire
from infpop_operator.settings import check_watched, settings_from

_context = click.get_current_context(silent=True)  # of `kopf run`, which imports this module
try:
    _settings = settings_from(os.environ, namespace=None)  # noqa: TID251 - the edge
    if _context is not None and "namespaces" in _context.params:
        _from_kopf = os.environ.get("KOPF_RUN_NAMESPACE")  # noqa: TID251 - kopf adds it to its option
        check_watched(_settings, {*_context.params["namespaces"], *([_from_kopf] if _from_kopf else [])})
except SettingError as error:
    raise click.UsageError(str(error)) from error
wire(kopf.get_default_registry(), _settings, find_connection)
