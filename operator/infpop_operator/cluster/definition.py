"""Say in the log that the CustomResourceDefinition is older than the operator.

The API server drops the fields that it does not know from every study that is read or written, without a word: results
are lost, and runs go on without what the study asks for.
"""

import asyncio
import logging

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeError
from infpop_operator.api.dropped_fields import dropped_fields

_log = logging.getLogger(__name__)
_SHOWN = 5
PUBLISHED_S = 10.0  # the API server publishes a new definition some seconds after it has accepted it


async def warn_of_an_older_definition(client: KubeClient, *, pause_s: float = PUBLISHED_S) -> None:
    """Log a warning with the fields that the API server drops, if it drops some now and after a pause.

    An API server that does not answer, or not to this operator, says nothing of its definition: nothing is logged.
    """
    if await _dropped(client):
        await asyncio.sleep(pause_s)
        fields = await _dropped(client)
        if fields:
            more = f" and {len(fields) - _SHOWN} more" if len(fields) > _SHOWN else ""
            _log.warning(
                "the CustomResourceDefinition is older than this operator: the API server drops %s%s from every study. "
                "Install that of this version: infpop crds | kubectl apply --server-side --force-conflicts -f -",
                ", ".join(fields[:_SHOWN]),
                more,
            )


async def _dropped(client: KubeClient) -> tuple[str, ...]:
    try:
        served = await client.read_published_schema()
    except KubeError:
        return ()
    return await asyncio.to_thread(dropped_fields, served)
