"""What a study names in a cluster is checked when the study is read, by the API server's own rules."""

import re

import pytest

from api.cel_evaluation import Schema, schema_of_object
from api.documents import changed_of
from api.whole_studies import WHOLE, with_source
from infpop_operator.api.parse import parse_object
from infpop_operator.core.errors import StudyError

SOURCE = "spec.workload.source.configMap"
ENGINE_POD, POOL_POD = "spec.engine.podTemplate.spec", "spec.nodePools.0.podTemplate.spec"
PODS = (ENGINE_POD, POOL_POD)
SECRETS = (f"{ENGINE_POD}.containers.0.env.1.valueFrom", f"{POOL_POD}.containers.0.env.1.valueFrom")
CONFIG_MAPS = (f"{ENGINE_POD}.containers.0.env.2.valueFrom", f"{POOL_POD}.containers.0.env.2.valueFrom")
OBJECTS = (  # each field of the spec that names an object of Kubernetes, except a label
    "spec.model.tokenSecretRef.name",
    "spec.model.cacheClaim",
    "spec.engine.imagePullSecrets.0.name",
    f"{SOURCE}.name",
    "spec.publish.configMap",
    "spec.scheduling.priorityClassName",
    "spec.scheduling.queueName",
    *(f"{each}.secretKeyRef.name" for each in SECRETS),
    *(f"{each}.configMapKeyRef.name" for each in CONFIG_MAPS),
    *(f"{each}.volumes.0.configMap.name" for each in PODS),
    *(f"{each}.volumes.1.secret.secretName" for each in PODS),
    *(f"{each}.runtimeClassName" for each in PODS),
    f"{ENGINE_POD}.volumes.2.persistentVolumeClaim.claimName",
    f"{ENGINE_POD}.serviceAccountName",
)
KEYS = (
    "spec.model.tokenSecretRef.key",
    f"{SOURCE}.key",
    *(f"{each}.secretKeyRef.key" for each in SECRETS),
    *(f"{each}.configMapKeyRef.key" for each in CONFIG_MAPS),
    *(f"{each}.volumes.0.configMap.items.0.key" for each in PODS),
    *(f"{each}.volumes.1.secret.items.0.key" for each in PODS),
)
IMAGES = ("spec.engine.image", "spec.nodePools.0.image")
DIGEST = f"sha256:{'0f' * 32}"


def problem(path: str, value: object) -> str | None:
    """Return the message about the field at `path` if it has this value, None if it is valid; no other is wrong."""
    document = with_source("config-map") if path.startswith(SOURCE) else WHOLE
    field = re.sub(r"\.(\d+)", r"[\1]", path)
    try:
        parse_object(changed_of(document, {path: value}))
    except StudyError as error:
        (only,) = error.problems
        assert only.field.startswith(field)
        assert only.remedy
        return only.message
    return None


@pytest.mark.parametrize("path", OBJECTS)
@pytest.mark.parametrize("name", ["a", "a.b", "a-1.b-2", "0", "a--b"])
def test_a_name_that_the_api_server_takes_is_taken(path: str, name: str) -> None:
    """Names of objects are DNS subdomains."""
    assert problem(path, name) is None


@pytest.mark.parametrize("path", OBJECTS)
@pytest.mark.parametrize("name", ["a..b", "..x", ".x", "x.", "a.-b", "a-.b", "A", "a_b", "a/b", "a b", "a\n", ""])
def test_a_name_that_the_api_server_refuses_is_refused_when_the_study_is_read(path: str, name: str) -> None:
    """Otherwise a run that names the object would fail hours later."""
    assert problem(path, name) is not None


@pytest.mark.parametrize("path", KEYS)
def test_a_key_of_a_config_map_or_secret_is_a_file_name(path: str) -> None:
    """The API server refuses a path and a name that leads out of its directory."""
    assert [problem(path, key) for key in ("a", ".a", "a.", "_", "A-b.c", "a..b")] == [None] * 6
    assert None not in [problem(path, key) for key in ("", ".", "..", "..a", "a/b", "a b", "a\n")]


@pytest.mark.parametrize("path", IMAGES)
@pytest.mark.parametrize(
    "image",
    [
        "runner",
        "org/runner:1.0-RC_1",
        "localhost:5000/runner",
        "Mirror:5000/runner",
        "Registry.example.com:5000/a/b__c--d.e:v1",
        f"example.com/runner@{DIGEST}",
        f"[fe80::1]:5000/runner:1@{DIGEST}",
        "",
    ],
)
def test_an_image_that_a_kubelet_takes_is_taken(path: str, image: str) -> None:
    """Only host and tag may be in upper case; an empty image counts as absent."""
    assert problem(path, image) is None


@pytest.mark.parametrize("path", IMAGES)
@pytest.mark.parametrize(
    "image",
    [
        "org/Runner",
        "Runner",
        "VLLM/runner",
        "example.com/Runner:1",
        "runner:",
        "runner:-1",
        f"runner:{'1' * 129}",
        "runner@sha256:12",
        f"runner@{DIGEST.upper()}",
        "/runner",
        "runner/",
        "a//b",
        "a..b/-c",
        "https://example.com/runner",
        "run ner",
        "runner\n",
        "-runner",
        "a" * 256,
    ],
)
def test_an_image_that_a_kubelet_refuses_is_refused_when_the_study_is_read(path: str, image: str) -> None:
    """The kubelet would say InvalidImageName of each run."""
    assert problem(path, image) is not None


@pytest.mark.parametrize("path", ["spec.nodePools.0.nodeSelector", "spec.nodePools.0.tolerations.0.key"])
def test_a_label_has_a_key_that_the_api_server_takes(path: str) -> None:
    """A key has at most 63 characters after its prefix, which is a DNS subdomain of at most 253."""

    def as_value(key: str) -> object:
        return {key: "x"} if path.endswith("Selector") else key

    good = ("a", "A_b.c", "nvidia.com/gpu.product", "b" * 63, f"{'a' * 253}/b")
    bad = ("a..b/c", "A.com/b", "a/b/c", "a/", "/b", "b" * 64, f"{'a' * 254}/b", "-a", "a.", "a\n")
    assert [problem(path, as_value(key)) for key in good] == [None] * len(good)
    assert None not in [problem(path, as_value(key)) for key in bad]


@pytest.mark.parametrize("path", ["spec.nodePools.0.nodeSelector.node-key", "spec.nodePools.0.tolerations.0.value"])
def test_a_label_has_a_value_that_the_api_server_takes(path: str) -> None:
    """It is empty, or has letters and digits at both ends."""
    assert [problem(path, value) for value in ("", "a", "A_b.c", "1" * 63)] == [None] * 4
    assert None not in [problem(path, value) for value in ("-a", "a.", "a b", "a/b", "1" * 64, "a\n")]


def test_every_field_that_names_something_in_a_cluster_is_above() -> None:
    """A field of the schema with the pattern of a name, a key or an image is tested here, or names a part of a study.

    The rest names the study itself, its namespace, its model, pools, arguments and metrics: a DNS label, or no object.
    """
    with_pattern = {path for path in _texts(schema_of_object()) if path.startswith("spec.")}
    tested = {re.sub(r"\.\d+", "[]", path) for path in (*OBJECTS, *KEYS, *IMAGES)}
    named = {path for path in with_pattern if path.rsplit(".", 1)[-1] in ("name", "key", "image", "configMap")}
    assert tested <= with_pattern
    parts = {f"{re.sub(r'[.]0', '[]', pod)}.{part}" for pod in PODS for part in (
        "containers[].env[].name", "containers[].volumeMounts[].name", "volumes[].name"
    )}  # fmt: skip
    assert named - tested - parts == {"spec.model.name", "spec.nodePools[].name", "spec.nodePools[].tolerations[].key",
                                      "spec.metrics[].name", "spec.searchSpace.extra[].name"}  # fmt: skip


def _texts(schema: Schema, path: str = "") -> list[str]:
    """Return the paths of the texts with a pattern."""
    found = [path] if "pattern" in schema and schema.get("type") == "string" else []
    for name, inner in schema.get("properties", {}).items():
        found += _texts(inner, f"{path}.{name}".removeprefix("."))
    return found + (_texts(schema["items"], f"{path}[]") if "items" in schema else [])
