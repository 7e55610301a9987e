"""The part of a PodTemplateSpec that a study may set for the Pods of its runs.

It has the shape and the names of Kubernetes, so that a part of another manifest can be pasted, but only the fields
that neither change what is measured without its identity nor give a run more rights. `refused_pod_fields` says why the
others are not there, and `rules_pod_template` which values are refused.
"""

from typing import Annotated, Literal

from pydantic import Field

from infpop_operator.api.fields import ApiModel, DataKey, LabelKey, LabelValue, Name, ObjectName
from infpop_operator.core.object_names import LONGEST_LABEL

ENV_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
# No control character: a proxy, an endpoint or a number has none, and the value is shown to people.
ENV_VALUE_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*$"
FIELD_PATH_PATTERN = (
    r"^(metadata[.](name|namespace|uid|(labels|annotations)\['[^']+'\])|spec[.](nodeName|serviceAccountName)"
    r"|status[.](hostIPs?|podIPs?))$"
)
MOUNT_PATH_PATTERN = r"^(/[^/:\x00-\x1f\x7f]+)+$"
RELATIVE_PATH_PATTERN = r"^[^/:\x00-\x1f\x7f]+(/[^/:\x00-\x1f\x7f]+)*$"
# As Kubernetes wants the path of a key: no part of it is . or .., and the first one does not begin with two dots.
_OTHER, _NO_DOT = r"[^/:\x00-\x1f\x7f]*", r"[^./:\x00-\x1f\x7f]"
KEY_PATH_PATTERN = rf"^[.]?{_NO_DOT}{_OTHER}(/([.]{{0,2}}{_NO_DOT}|[.]{{3}}){_OTHER})*$"
HIGHEST_ID = 2**31 - 1  # of a user or a group, as Kubernetes checks it
MOST_VARIABLES, MOST_VOLUMES = 32, 16

PullPolicy = Literal["Always", "IfNotPresent", "Never"]
_Path = Annotated[str, Field(min_length=1, max_length=256, pattern=RELATIVE_PATH_PATTERN)]
_Annotation = Annotated[str, Field(max_length=1024)]
_Id = Annotated[int, Field(ge=0, le=HIGHEST_ID)]


class KeySelector(ApiModel):
    """A key of a Secret or ConfigMap in the study's namespace; a run does not start without it."""

    name: ObjectName = Field(description="name of the object, in the study's namespace")
    key: DataKey = Field(description="key in the object")


class FieldSelector(ApiModel):
    """A field of the Pod itself."""

    field_path: Annotated[str, Field(min_length=1, max_length=128, pattern=FIELD_PATH_PATTERN)] = Field(
        description="path of the field, such as status.podIP"
    )


class EnvVarSource(ApiModel):
    """Where the value of a variable comes from: exactly one of these."""

    secret_key_ref: KeySelector | None = Field(default=None, description="a key of a Secret")
    config_map_key_ref: KeySelector | None = Field(default=None, description="a key of a ConfigMap")
    field_ref: FieldSelector | None = Field(default=None, description="a field of the Pod")


class EnvVar(ApiModel):
    """An environment variable of the runner and its engine."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=ENV_NAME_PATTERN)] = Field(
        description="name of the variable"
    )
    value: Annotated[str, Field(max_length=4096, pattern=ENV_VALUE_PATTERN)] | None = Field(
        default=None, description="its value; $(NAME) is the value of a variable that stands before it"
    )
    value_from: EnvVarSource | None = Field(default=None, description="where its value comes from, instead of value")


class KeyToPath(ApiModel):
    """A key of an object as a file of its volume."""

    key: DataKey = Field(description="key in the object")
    path: Annotated[str, Field(min_length=1, max_length=256, pattern=KEY_PATH_PATTERN)] = Field(
        description="path of the file in the volume"
    )


class ConfigMapVolume(ApiModel):
    """A ConfigMap as files."""

    name: ObjectName = Field(description="name of the ConfigMap, in the study's namespace")
    items: list[KeyToPath] = Field(default=[], max_length=16, description="keys to mount; empty: all, by their names")


class SecretVolume(ApiModel):
    """A Secret as files."""

    secret_name: ObjectName = Field(description="name of the Secret, in the study's namespace")
    items: list[KeyToPath] = Field(default=[], max_length=16, description="keys to mount; empty: all, by their names")


class ClaimVolume(ApiModel):
    """A PersistentVolumeClaim."""

    claim_name: ObjectName = Field(description="name of the PersistentVolumeClaim, in the study's namespace")
    read_only: bool = Field(default=False, description="true: no mount of it can be written to")


class Volume(ApiModel):
    """A volume of the Pod: exactly one of the three kinds."""

    name: Name = Field(description="name of the volume, for volumeMounts")
    config_map: ConfigMapVolume | None = Field(default=None, description="a ConfigMap as files")
    secret: SecretVolume | None = Field(default=None, description="a Secret as files")
    persistent_volume_claim: ClaimVolume | None = Field(default=None, description="a PersistentVolumeClaim")


class VolumeMount(ApiModel):
    """Where the runner sees a volume."""

    name: Name = Field(description="name of the volume")
    mount_path: Annotated[str, Field(min_length=1, max_length=256, pattern=MOUNT_PATH_PATTERN)] = Field(
        description="absolute path in the container, without a slash at its end"
    )
    sub_path: _Path | None = Field(default=None, description="path in the volume to mount, instead of all of it")
    read_only: bool = Field(default=False, description="true: the runner cannot write to it")


class Container(ApiModel):
    """The runner's container."""

    name: Literal["runner"] = Field(description="runner: a run has one container")
    image_pull_policy: PullPolicy | None = Field(
        default=None, description="when the kubelet pulls the image; omitted: IfNotPresent"
    )
    env: list[EnvVar] = Field(
        default=[],
        max_length=MOST_VARIABLES,
        description="environment variables; a change starts a new round, except of proxies, certificates and endpoints",
    )
    volume_mounts: list[VolumeMount] = Field(
        default=[],
        max_length=MOST_VOLUMES,
        description="where the runner sees the volumes; a change of what is mounted starts a new round",
    )


class PodSecurityContext(ApiModel):
    """The user of the run's process; InfPop sets everything else that restricts it."""

    run_as_user: Annotated[int, Field(ge=1, le=HIGHEST_ID)] | None = Field(
        default=None, description="user id, never 0; omitted: 65532"
    )
    run_as_group: _Id | None = Field(default=None, description="group id; omitted: 65532")
    fs_group: _Id | None = Field(default=None, description="group that owns the files of volumes; omitted: 65532")


class PodMetadata(ApiModel):
    """Labels and annotations of a run's Pod, in addition to InfPop's own; no change of them starts a new round."""

    labels: dict[LabelKey, LabelValue] = Field(default={}, max_length=16, description="more labels of the Pod")
    annotations: dict[LabelKey, _Annotation] = Field(
        default={}, max_length=16, description="more annotations of the Pod, such as those of a topology-aware queue"
    )


class PodSpec(ApiModel):
    """What a study may set of a run's Pod."""

    runtime_class_name: Annotated[ObjectName, Field(max_length=LONGEST_LABEL)] | None = Field(
        default=None, description="RuntimeClass, such as nvidia; a change starts a new round"
    )
    service_account_name: ObjectName | None = Field(
        default=None, description="ServiceAccount of the Pod; omitted: default"
    )
    automount_service_account_token: bool | None = Field(
        default=None, description="true: the runner gets a token of the ServiceAccount; omitted: it gets none"
    )
    host_ipc: bool | None = Field(
        default=None,
        alias="hostIPC",
        description="true: shares shared memory with the node; Pod Security restricted and baseline refuse it; "
        "a change starts a new round",
    )
    security_context: PodSecurityContext | None = Field(default=None, description="user and groups of the run")
    containers: list[Container] = Field(default=[], max_length=1, description="the runner's container")
    volumes: list[Volume] = Field(
        default=[], max_length=MOST_VOLUMES, description="more volumes from a ConfigMap, Secret or claim"
    )


class PodTemplate(ApiModel):
    """A checked part of a PodTemplateSpec for the Pods of runs."""

    metadata: PodMetadata = Field(default=PodMetadata(), description="labels and annotations of the Pod")
    spec: PodSpec = Field(default=PodSpec(), description="what the study sets of the Pod")

    @property
    def env(self) -> list[EnvVar]:
        """The variables of the runner's container."""
        return [variable for container in self.spec.containers for variable in container.env]

    @property
    def mounts(self) -> list[VolumeMount]:
        """The mounts of the runner's container."""
        return [mount for container in self.spec.containers for mount in container.volume_mounts]

    @property
    def image_pull_policy(self) -> PullPolicy | None:
        """The pull policy of the runner's container, None where it is not set."""
        return next((container.image_pull_policy for container in self.spec.containers), None)
