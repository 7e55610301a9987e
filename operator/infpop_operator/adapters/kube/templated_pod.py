"""Put what a study's Pod template asks for into the Pod that InfPop builds.

Pure. The template was checked when the study was parsed: it names nothing that InfPop needs as it is, so the study's
value stands wherever both have one.
"""

from collections.abc import Sequence
from typing import Any

from infpop_operator.api.fields import ApiModel
from infpop_operator.api.spec_pod_template import EnvVar, PodTemplate

Json = dict[str, Any]


def with_metadata(own: Json, template: PodTemplate) -> Json:
    """Return the Pod's metadata with the labels and annotations of the template."""
    return {
        "labels": own["labels"] | template.metadata.labels,
        "annotations": own["annotations"] | template.metadata.annotations,
    }


def with_template(own: Json, template: PodTemplate) -> Json:
    """Return the Pod's spec with the fields of the template; its only container is the runner's."""
    (container,) = own["containers"]
    spec = template.spec
    given: Json = {
        "runtimeClassName": spec.runtime_class_name,
        "serviceAccountName": spec.service_account_name,
        "automountServiceAccountToken": spec.automount_service_account_token,
        "hostIPC": spec.host_ipc,
    }
    return (
        own
        | {
            "securityContext": own["securityContext"] | _written(spec.security_context),
            "containers": [_with_container(container, template)],
            "volumes": [*own["volumes"], *(_written(volume) for volume in spec.volumes)],
        }
        | {name: value for name, value in given.items() if value is not None}
    )


def _with_container(own: Json, template: PodTemplate) -> Json:
    mounts = [_written(mount) for mount in template.mounts]
    return own | {
        "imagePullPolicy": template.image_pull_policy or own["imagePullPolicy"],
        "env": _environment(own["env"], template.env),
        "volumeMounts": [*own["volumeMounts"], *mounts],
    }


def _environment(own: Sequence[Json], wanted: Sequence[EnvVar]) -> list[Json]:
    """Return InfPop's variables, then the study's, which take the place of one that has their name."""
    names = {variable.name for variable in wanted}
    kept = [variable for variable in own if variable["name"] not in names]
    return [*kept, *(_written(variable) for variable in wanted)]


def _written(part: ApiModel | None) -> Json:
    """Return the fields that the study sets, without those that have their default."""
    return {} if part is None else part.model_dump(mode="json", by_alias=True, exclude_defaults=True)
