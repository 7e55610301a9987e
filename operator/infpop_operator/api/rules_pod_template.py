"""Rules for Pod templates that the schema cannot express; each problem names field, value and remedy."""

from collections.abc import Iterator, Mapping, Sequence

from infpop_operator.api.merged_pod_template import merge_pod_templates
from infpop_operator.api.reserved_pod_names import (
    ANNOTATIONS,
    LABELS,
    MOUNT_PATHS,
    Reserved,
    matching,
    reserved_variable,
    reserved_volume,
)
from infpop_operator.api.spec import StudySpec
from infpop_operator.api.spec_pod_template import EnvVar, PodTemplate, Volume, VolumeMount
from infpop_operator.core.errors import Problem
from infpop_operator.core.object_names import LONGEST_SUBDOMAIN, has_long_prefix

_SOURCES = ("secretKeyRef", "configMapKeyRef", "fieldRef")
_KINDS = ("configMap", "secret", "persistentVolumeClaim")


def pod_template_rules(spec: StudySpec) -> Iterator[Problem]:
    """Return the problems of the Pod templates of `spec`."""
    templates = [("spec.engine.podTemplate", spec.engine.pod_template)]
    templates += [
        (f"spec.nodePools[{place}].podTemplate", pool.pod_template) for place, pool in enumerate(spec.node_pools)
    ]
    for field, template in templates:
        if template is not None:
            yield from _keys(f"{field}.metadata.labels", template.metadata.labels, LABELS)
            yield from _keys(f"{field}.metadata.annotations", template.metadata.annotations, ANNOTATIONS)
            yield from _variables(f"{field}.spec.containers[0].env", template.env)
            yield from _volumes(f"{field}.spec.volumes", template.spec.volumes)
            yield from _mounts(f"{field}.spec.containers[0].volumeMounts", template.mounts)
    yield from _mounted_volumes(spec)


def _keys(field: str, keys: Mapping[str, str], reserved: Mapping[str, Reserved]) -> Iterator[Problem]:
    for key in keys:
        yield from _reserved(field, key, matching(reserved, key))
        if has_long_prefix(key):
            message = f"has more than {LONGEST_SUBDOMAIN} characters before its slash"
            yield Problem(field=field, value=key, message=message, remedy="Use a shorter domain")


def _reserved(field: str, value: str, reason: Reserved | None) -> Iterator[Problem]:
    if reason is not None:
        yield Problem(field=field, value=value, message=reason.message, remedy=reason.remedy)


def _repeated(field: str, key: str, values: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem for each entry whose key an earlier one has: a list is merged by it."""
    for place, value in enumerate(values):
        first = values.index(value)
        if first < place:
            message = f"is that of {field.rpartition('.')[2]}[{first}] too"
            yield Problem(field=f"{field}[{place}].{key}", value=value, message=message, remedy="Remove one of the two")


def _variables(field: str, variables: Sequence[EnvVar]) -> Iterator[Problem]:
    yield from _repeated(field, "name", [variable.name for variable in variables])
    for place, variable in enumerate(variables):
        where, source = f"{field}[{place}]", variable.value_from
        yield from _reserved(f"{where}.name", variable.name, reserved_variable(variable.name))
        if (variable.value is None) == (source is None):
            message = "needs exactly one of value and valueFrom"
            remedy = 'Give one of the two; value: "" is an empty value'
            yield Problem(field=where, value=variable.name, message=message, remedy=remedy)
        given = () if source is None else (source.secret_key_ref, source.config_map_key_ref, source.field_ref)
        if source is not None and len([each for each in given if each is not None]) != 1:
            yield _one_of(f"{where}.valueFrom", variable.name, "source", _SOURCES)


def _one_of(field: str, value: str, what: str, names: Sequence[str]) -> Problem:
    message = f"needs exactly one {what}"
    return Problem(field=field, value=value, message=message, remedy=f"Give exactly one of {', '.join(names)}")


def _volumes(field: str, volumes: Sequence[Volume]) -> Iterator[Problem]:
    yield from _repeated(field, "name", [volume.name for volume in volumes])
    for place, volume in enumerate(volumes):
        yield from _reserved(f"{field}[{place}].name", volume.name, reserved_volume(volume.name))
        given = (volume.config_map, volume.secret, volume.persistent_volume_claim)
        if len([each for each in given if each is not None]) != 1:
            yield _one_of(f"{field}[{place}]", volume.name, "kind of volume", _KINDS)


def _mounts(field: str, mounts: Sequence[VolumeMount]) -> Iterator[Problem]:
    yield from _repeated(field, "mountPath", [mount.mount_path for mount in mounts])
    for place, mount in enumerate(mounts):
        yield from _reserved(f"{field}[{place}].mountPath", mount.mount_path, matching(MOUNT_PATHS, mount.mount_path))
        if mount.sub_path is not None and ".." in mount.sub_path.split("/"):
            message, remedy = "leaves the volume", "Write a path inside the volume"
            yield Problem(field=f"{field}[{place}].subPath", value=mount.sub_path, message=message, remedy=remedy)


def _mounted_volumes(spec: StudySpec) -> Iterator[Problem]:
    """Yield a problem for each mount of a volume that the merged template of a pool lacks, once for each mount."""
    engine = spec.engine.pod_template or PodTemplate()
    found: dict[str, Problem] = {}
    for place, pool in enumerate(spec.node_pools):
        own = pool.pod_template or PodTemplate()
        known = {volume.name for volume in merge_pod_templates(engine, own).spec.volumes}
        replaced = {mount.mount_path for mount in own.mounts}
        kept = [(number, mount) for number, mount in enumerate(engine.mounts) if mount.mount_path not in replaced]
        for where, mounts in (("spec.engine", kept), (f"spec.nodePools[{place}]", list(enumerate(own.mounts)))):
            for number, mount in mounts:
                field = f"{where}.podTemplate.spec.containers[0].volumeMounts[{number}].name"
                if mount.name not in known:
                    message = f"names a volume that the Pods of the pool {pool.name} do not have"
                    remedy = "Add it to podTemplate.spec.volumes"
                    found.setdefault(field, Problem(field=field, value=mount.name, message=message, remedy=remedy))
    yield from found.values()
