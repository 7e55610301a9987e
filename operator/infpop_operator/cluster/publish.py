"""The ConfigMap that `spec.publish` names: the best configuration, for Deployments to use.

The operator writes it when a search has ended with a best, so that no Deployment uses a result that still changes. The
study does not own it: a Deployment that uses it must not break because a user deletes the study. The operator never
changes a ConfigMap of that name that another study, another program or a user wrote.
"""

import json

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import KubeExistsError, KubeNotFoundError
from infpop_operator.adapters.kube.labels import CONTENT, MANAGED_BY, MANAGER, STUDY
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.render import render_study
from infpop_operator.api.status_model import Best
from infpop_operator.cluster.events import StudyEvent, count_gpus
from infpop_operator.cluster.resolve import ResolvedStudy

BEST = "best"
ARGS, ARGS_TEXT, BEST_JSON, STUDY_YAML = "args", "args.txt", "best.json", "study.yaml"


async def publish(client: KubeClient, resolved: ResolvedStudy, best: Best) -> StudyEvent | None:
    """Write `best` to the ConfigMap that the study names, if it differs; return the Event for it.

    Raises:
        KubeError: a request to the API server failed.
    """
    target = resolved.document.spec.publish
    if target is None:
        return None
    if any("\n" in argument or "\r" in argument for argument in best.engine_args):
        message = f"an engine argument has a line break, which {ARGS_TEXT} cannot hold; write it on one line"
        return StudyEvent(type="Warning", reason="PublishRefused", message=message)
    wanted = build_config_map(resolved, target.config_map, best)
    namespace = resolved.owner.namespace
    try:
        existing = await client.get_config_map(namespace, target.config_map)
    except KubeNotFoundError:
        return await _create(client, wanted)
    if not _is_ours(existing, resolved):
        message = f"ConfigMap {target.config_map} exists, but this study did not write it; delete it or name another"
        return StudyEvent(type="Warning", reason="PublishRefused", message=message)
    if existing.get("data") == wanted["data"]:
        return None
    # A merge patch does not remove keys; the operator always writes the same keys, so none becomes outdated.
    changes = {"metadata": {"resourceVersion": existing["metadata"]["resourceVersion"]}, "data": wanted["data"]}
    await client.patch_config_map(namespace, target.config_map, changes)
    return _published(target.config_map, best)


async def _create(client: KubeClient, wanted: Body) -> StudyEvent | None:
    try:
        await client.create_config_map(wanted)
    except KubeExistsError:  # created meanwhile: the next pass finds out who wrote it
        return None
    name = wanted["metadata"]["name"]
    return StudyEvent(type="Normal", reason="Published", message=f"the best configuration is in ConfigMap {name}")


def _published(name: str, best: Best) -> StudyEvent:
    what = f"{count_gpus(best.gpu_count)}, batch size {best.batch_size} on pool {best.pool}"
    return StudyEvent(
        type="Normal", reason="Published", message=f"ConfigMap {name} has a new best configuration: {what}"
    )


def build_config_map(resolved: ResolvedStudy, name: str, best: Best) -> Body:
    """Return the ConfigMap: `args` as a JSON list, `args.txt` with one argument per line, the result and the study."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": resolved.owner.namespace,
            "labels": _labels(resolved),
        },
        "data": {
            ARGS: json.dumps(best.engine_args),
            ARGS_TEXT: "".join(f"{argument}\n" for argument in best.engine_args),
            BEST_JSON: best.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n",
            STUDY_YAML: render_study(resolved.document),
        },
    }


def _is_ours(config_map: Body, resolved: ResolvedStudy) -> bool:
    known = config_map["metadata"].get("labels") or {}
    return _labels(resolved).items() <= known.items()


def _labels(resolved: ResolvedStudy) -> dict[str, str]:
    return {MANAGED_BY: MANAGER, STUDY: resolved.owner.name, CONTENT: BEST}
