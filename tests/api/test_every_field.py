"""Every field of the API has a value in the whole studies, and some code reads it."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from api.whole_studies import DOCUMENTS, converted
from infpop_operator.api.parse import parse_object
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.core.study import Study

# Fields that are not in the core's study: the cluster code reads them from the document.
READ_ELSEWHERE = {
    "Model.token_secret_ref", "Model.cache_claim", "Engine.image", "Engine.image_pull_secrets",
    "Timeouts.schedule", "Timeouts.pull", "NodePool.scale_from_zero", "ScaleFromZero.gpu_product",
    "NodePool.gpu_product", "NodePool.node_selector", "NodePool.tolerations", "NodePool.gpu_resource",
    "NodePool.image", "NodePool.resources", "NodePool.price_per_gpu_hour", "Toleration.key", "Toleration.operator",
    "Toleration.value", "Toleration.effect", "Toleration.toleration_seconds", "Resources.cpu", "Resources.memory",
    "Publish.labels", "Publish.annotations",
    "Engine.pod_template", "NodePool.pod_template", "PodTemplate.metadata", "PodTemplate.spec", "PodMetadata.labels",
    "PodMetadata.annotations", "PodSpec.runtime_class_name", "PodSpec.service_account_name",
    "PodSpec.automount_service_account_token", "PodSpec.host_ipc", "PodSpec.security_context", "PodSpec.containers",
    "PodSpec.volumes", "PodSecurityContext.run_as_user", "PodSecurityContext.run_as_group",
    "PodSecurityContext.fs_group", "Container.image_pull_policy", "Container.env", "Container.volume_mounts",
    "EnvVar.value", "EnvVar.value_from", "EnvVarSource.secret_key_ref", "EnvVarSource.config_map_key_ref",
    "EnvVarSource.field_ref", "Volume.config_map", "Volume.secret", "Volume.persistent_volume_claim",
    "ConfigMapVolume.items", "SecretVolume.items", "ClaimVolume.read_only", "VolumeMount.sub_path",
    "VolumeMount.read_only",
    "StudySpec.scheduling", "Scheduling.queue_name", "Scheduling.priority_class_name",
    "StudySpec.suspend", "StudySpec.ttl_seconds_after_finished",
}  # fmt: skip


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - a type expression has no type of its own
    """Yield the model that a field's type names, and all models that its fields name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for argument in get_args(annotation):
        yield from models_in(argument)


def is_fixed(field: FieldInfo) -> bool:
    """Return whether a field allows only one value."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def values_in(part: Any) -> Iterator[tuple[str, FieldInfo, object]]:  # noqa: ANN401 - any part of a document
    """Yield the name, the definition and the value of every field below `part`."""
    if isinstance(part, BaseModel):
        for name, field in type(part).model_fields.items():
            value = getattr(part, name)
            yield f"{type(part).__name__}.{name}", field, value
            yield from values_in(value)
    elif isinstance(part, list):
        for element in part:
            yield from values_in(element)


FIELDS = {
    f"{model.__name__}.{name}": field
    for model in models_in(ThroughputStudy)
    for name, field in model.model_fields.items()
    if not is_fixed(field)
}


def test_no_field_is_left_out_of_the_whole_studies() -> None:
    """A new API field must get a non-default value here, so that it cannot be forgotten elsewhere."""
    said = {
        name
        for document in DOCUMENTS.values()
        for name, field, value in values_in(parse_object(document))
        if field.is_required() or value != field.get_default(call_default_factory=True)
    }
    assert sorted(FIELDS.keys() - said) == []


def without(document: ThroughputStudy, name: str) -> ThroughputStudy | None:
    """Return the document with the field `name` at its default wherever it occurs, None if it occurs nowhere."""
    changes = 0

    def reset(part: Any) -> Any:  # noqa: ANN401 - any part of a document
        nonlocal changes
        if isinstance(part, list):
            return [reset(element) for element in part]
        if not isinstance(part, BaseModel):
            return part
        values = {key: reset(getattr(part, key)) for key in type(part).model_fields}
        for key, field in type(part).model_fields.items():
            if f"{type(part).__name__}.{key}" == name:
                default = field.get_default(call_default_factory=True)
                changes += values[key] != default
                values[key] = default
        return part.model_copy(update=values)

    changed = reset(document)
    return changed if changes else None


def study_of(document: ThroughputStudy) -> Study | None:
    """Return the core's view of a document, or None if it is invalid, which shows that the removed field is read."""
    try:
        return converted(document)
    except ValueError:
        return None


@pytest.mark.parametrize("name", sorted(name for name, field in FIELDS.items() if not field.is_required()))
def test_every_optional_field_is_read_by_the_core_or_listed(name: str) -> None:
    """A field that does not change the core's study must be listed as read elsewhere."""
    parsed = [parse_object(document) for document in DOCUMENTS.values()]
    changed = [(document, without(document, name)) for document in parsed]
    read = any(study_of(other) != converted(document) for document, other in changed if other is not None)
    assert read == (name not in READ_ELSEWHERE)


def test_the_list_of_what_is_read_elsewhere_names_fields_that_exist() -> None:
    """A removed field does not stay on the list."""
    assert FIELDS.keys() >= READ_ELSEWHERE
