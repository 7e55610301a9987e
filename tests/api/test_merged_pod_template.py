"""The Pod template of a pool is merged over that of the engine, and says what of it belongs to the measurement."""

from typing import Any

import pytest

from api.documents import changed_of
from api.whole_pod_templates import ENGINE, POOL
from infpop_operator.api.merged_pod_template import NOT_MEASURED, measured_facts, merge_pod_templates
from infpop_operator.api.spec_pod_template import PodTemplate

CONTAINER = ENGINE["spec"]["containers"][0]


def template(body: dict[str, Any]) -> PodTemplate:
    """Return the template that a study has written so."""
    return PodTemplate.model_validate(body)


def written(merged: PodTemplate) -> dict[str, Any]:
    """Return a template as a study would write it."""
    return merged.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def test_a_pool_is_merged_over_the_engine() -> None:
    """Keys, variables, volumes and mounts replace their namesakes in place, others follow; one field replaces one."""
    merged = written(merge_pod_templates(template(ENGINE), template(POOL)))
    pool = POOL["spec"]["containers"][0]
    assert merged == {
        "metadata": {
            "labels": {"team": "tuning", "rack": "one"},
            "annotations": {"example.org/topology": "block"},
        },
        "spec": {
            "runtimeClassName": "nvidia-cdi",
            "serviceAccountName": "engine-account",
            "automountServiceAccountToken": True,
            "hostIPC": True,
            "securityContext": {"runAsUser": 2001, "runAsGroup": 1002, "fsGroup": 1003},
            "containers": [
                {
                    "name": "runner",
                    "imagePullPolicy": "Always",
                    "env": [pool["env"][0], CONTAINER["env"][1], pool["env"][2], CONTAINER["env"][3], pool["env"][1]],
                    "volumeMounts": [*pool["volumeMounts"], *CONTAINER["volumeMounts"][1:]],
                }
            ],
            "volumes": [*ENGINE["spec"]["volumes"], *POOL["spec"]["volumes"]],
        },
    }


@pytest.mark.parametrize("body", [ENGINE, POOL, {}])
def test_a_template_over_none_or_under_none_is_itself(body: dict[str, Any]) -> None:
    """Who writes one of the two templates gets that."""
    alone = template(body)
    assert merge_pod_templates(alone, None) == merge_pod_templates(None, alone) == alone
    assert merge_pod_templates(alone, template({})) == alone


def test_a_pool_turns_off_what_the_engine_turned_on() -> None:
    """False is a value, not an omission."""
    off = template({"spec": {"hostIPC": False, "automountServiceAccountToken": False}})
    merged = merge_pod_templates(template(ENGINE), off)
    assert (merged.spec.host_ipc, merged.spec.automount_service_account_token) == (False, False)


def test_the_measurement_has_what_may_change_a_number() -> None:
    """Runtime, variables and mounted contents belong to it, by name; a proxy does not."""
    assert measured_facts(template(ENGINE)) == (
        ("runtimeClassName", "nvidia"),
        ("hostIPC", "true"),
        ("env.HOST_IP", "field status.hostIP"),
        ("env.NCCL_ALGO", '"Ring"'),
        ("env.SITE", "ConfigMap site site-key"),
        ("volumeMounts./data", "PersistentVolumeClaim data"),
        ("volumeMounts./etc/nccl.conf", "ConfigMap nccl conf=nccl.conf subPath=nccl.conf"),
        ("volumeMounts./keys", "Secret keys hub=hub/key"),
    )


SPEC, ENV, MOUNT = "spec", "spec.containers.0.env", "spec.containers.0.volumeMounts.0"


@pytest.mark.parametrize(
    ("path", "value", "changes"),
    [
        ("metadata.labels", {"team": "other"}, False),
        ("metadata.annotations", {}, False),
        (f"{SPEC}.serviceAccountName", "other", False),
        (f"{SPEC}.automountServiceAccountToken", False, False),
        (f"{SPEC}.securityContext", {"runAsUser": 7}, False),
        ("spec.containers.0.imagePullPolicy", "Never", False),
        (f"{ENV}.1.valueFrom.secretKeyRef.name", "other", False),
        (f"{ENV}.1.name", "https_proxy", False),
        (f"{ENV}.1.name", "HF_ENDPOINT", False),
        (f"{MOUNT}.readOnly", False, False),
        (f"{SPEC}.volumes.2.persistentVolumeClaim.readOnly", False, False),
        (f"{SPEC}.runtimeClassName", "gvisor", True),
        (f"{SPEC}.hostIPC", False, True),
        (f"{ENV}.0.value", "", True),
        (f"{ENV}.0.name", "NCCL_PROTO", True),
        (f"{ENV}.1.name", "PROXY", True),
        (f"{ENV}.2.valueFrom.configMapKeyRef.key", "other", True),
        (f"{ENV}.3.valueFrom.fieldRef.fieldPath", "status.podIP", True),
        (f"{MOUNT}.mountPath", "/etc/other.conf", True),
        (f"{MOUNT}.subPath", "other.conf", True),
        (f"{SPEC}.volumes.0.configMap.name", "other", True),
        (f"{SPEC}.volumes.0.configMap.items.0.key", "other", True),
        (f"{SPEC}.volumes.1.secret.secretName", "other", True),
        (f"{SPEC}.volumes.2.persistentVolumeClaim.claimName", "other", True),
    ],
)
def test_a_change_is_another_measurement_only_where_it_may_change_a_number(
    path: str,
    value: object,
    changes: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """What only says who runs the Pod and how it is fetched or found keeps every result."""
    changed = changed_of(ENGINE, {path: value})
    assert changed != ENGINE
    assert (measured_facts(template(changed)) != measured_facts(template(ENGINE))) is changes


def test_the_order_and_the_names_of_volumes_are_no_measurement() -> None:
    """Only what the runner sees under a path counts."""
    renamed = changed_of(ENGINE, {f"{MOUNT}.name": "other", f"{SPEC}.volumes.0.name": "other"})
    renamed["spec"]["volumes"].reverse()
    renamed["spec"]["containers"][0]["env"].reverse()
    assert measured_facts(template(renamed)) == measured_facts(template(ENGINE))


def test_what_is_not_measured_is_written_in_upper_case() -> None:
    """A variable's name is compared in upper case, because proxies are set in either."""
    assert all(name == name.upper() for name in NOT_MEASURED)
