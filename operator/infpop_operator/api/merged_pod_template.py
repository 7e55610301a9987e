"""Merge the Pod templates of engine and pool, and say what of the result belongs to the measurement."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from infpop_operator.api.fields import ApiModel
from infpop_operator.api.spec_pod_template import (
    Container,
    EnvVar,
    KeyToPath,
    PodMetadata,
    PodSecurityContext,
    PodTemplate,
    Volume,
    VolumeMount,
)

Facts = tuple[tuple[str, str], ...]
_Entry = TypeVar("_Entry", EnvVar, Volume, VolumeMount)
_Model = TypeVar("_Model", bound=ApiModel)

# Variables that say how the model and its prompts are fetched, who may, and what is logged and reported about it. No
# number depends on them: what is fetched is identified by its own name and revision.
NOT_MEASURED = frozenset(
    {
        "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR",
        "SSL_CERT_FILE", "DO_NOT_TRACK", "HF_DATASETS_OFFLINE", "HF_ENDPOINT", "HF_HUB_DISABLE_PROGRESS_BARS",
        "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET", "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ENABLE_HF_TRANSFER",
        "HF_HUB_ETAG_TIMEOUT", "HF_HUB_OFFLINE", "HF_XET_HIGH_PERFORMANCE", "TRANSFORMERS_OFFLINE",
        "VLLM_DO_NOT_TRACK", "VLLM_NO_USAGE_STATS",
    }
)  # fmt: skip


def merge_pod_templates(engine: PodTemplate | None, pool: PodTemplate | None) -> PodTemplate:
    """Return the engine's template with the pool's over it, as a strategic merge does.

    Labels and annotations are merged by key, variables and volumes by name, mounts by mountPath, and every other field
    is the pool's where it has one. An entry replaces another one as a whole, so that no variable gets two sources.
    """
    under, over = engine or PodTemplate(), pool or PodTemplate()
    metadata = PodMetadata(
        labels=under.metadata.labels | over.metadata.labels,
        annotations=under.metadata.annotations | over.metadata.annotations,
    )
    users = _over(
        under.spec.security_context or PodSecurityContext(), over.spec.security_context or PodSecurityContext()
    )
    spec = _over(under.spec, over.spec).model_copy(
        update={
            "security_context": None if users == PodSecurityContext() else users,
            "containers": [_container(under, over)] if under.spec.containers or over.spec.containers else [],
            "volumes": _by_key(under.spec.volumes, over.spec.volumes, lambda volume: volume.name),
        }
    )
    return PodTemplate(metadata=metadata, spec=spec)


def measured_facts(template: PodTemplate) -> Facts:
    """Return what of a merged template may change a number, by the names of its fields.

    The content of a Secret, a ConfigMap or a claim is known by its name alone.
    """
    return tuple(_measured(template))


def _measured(template: PodTemplate) -> Iterator[tuple[str, str]]:
    spec = template.spec
    if spec.runtime_class_name is not None:
        yield "runtimeClassName", spec.runtime_class_name
    if spec.host_ipc:
        yield "hostIPC", "true"
    for variable in sorted(template.env, key=lambda variable: variable.name):
        if variable.name.upper() not in NOT_MEASURED:
            yield f"env.{variable.name}", _value(variable)
    volumes = {volume.name: volume for volume in spec.volumes}
    for mount in sorted(template.mounts, key=lambda mount: mount.mount_path):
        yield f"volumeMounts.{mount.mount_path}", _content(volumes[mount.name], mount.sub_path)


def _value(variable: EnvVar) -> str:
    source = variable.value_from
    if source is None:
        return json.dumps(variable.value, ensure_ascii=False)
    if source.secret_key_ref is not None:
        return f"Secret {source.secret_key_ref.name} {source.secret_key_ref.key}"
    if source.config_map_key_ref is not None:
        return f"ConfigMap {source.config_map_key_ref.name} {source.config_map_key_ref.key}"
    return "" if source.field_ref is None else f"field {source.field_ref.field_path}"


def _content(volume: Volume, sub_path: str | None) -> str:
    items: Sequence[KeyToPath] = ()
    if volume.config_map is not None:
        content, items = f"ConfigMap {volume.config_map.name}", volume.config_map.items
    elif volume.secret is not None:
        content, items = f"Secret {volume.secret.secret_name}", volume.secret.items
    else:
        claim = volume.persistent_volume_claim
        content = "" if claim is None else f"PersistentVolumeClaim {claim.claim_name}"
    parts = [content, *(f"{item.key}={item.path}" for item in items), *([f"subPath={sub_path}"] if sub_path else [])]
    return " ".join(parts)


def _over(under: _Model, over: _Model) -> _Model:
    given = {name: value for name in type(over).model_fields if (value := getattr(over, name)) is not None}
    return under.model_copy(update=given)


def _container(under: PodTemplate, over: PodTemplate) -> Container:
    return Container(
        name="runner",
        image_pull_policy=over.image_pull_policy or under.image_pull_policy,
        env=_by_key(under.env, over.env, lambda variable: variable.name),
        volume_mounts=_by_key(under.mounts, over.mounts, lambda mount: mount.mount_path),
    )


def _by_key(under: Sequence[_Entry], over: Sequence[_Entry], key: Callable[[_Entry], str]) -> list[_Entry]:
    """Return the entries of both; an entry of `over` takes the place of that of `under` with its key."""
    return list(({key(entry): entry for entry in under} | {key(entry): entry for entry in over}).values())
