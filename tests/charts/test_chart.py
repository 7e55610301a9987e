"""The chart as text: its rendering, its schema, and its consistency with the rest of the project."""

import re
import shutil
import socket
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from charts.boards import FOLDER, ROOT, RULES
from charts.golden import PRESET_NAMES, golden_file, reviewed_text
from charts.helm import CHART, PRESETS, Document, helm, of_kind, rendered
from charts.values import EVERYTHING
from controlplane.processes import has_ipv6_loopback
from infpop_operator import __version__
from infpop_operator import settings as operator_settings

pytestmark = pytest.mark.cluster  # needs no control plane, only helm, which is built with it


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_a_preset_renders_as_reviewed(preset: str) -> None:
    """A review shows every rendered line that a change of the chart affects, for each cloud."""
    golden = golden_file(preset)
    assert reviewed_text(preset) == golden.read_text(), "PYTHONPATH=tests python -m charts.golden writes it again"


@pytest.mark.parametrize("preset", [*PRESET_NAMES, None])
def test_helm_has_nothing_against_it(preset: str | None) -> None:
    """`helm lint --strict` passes with each preset, and without one."""
    options = [] if preset is None else [f"--values={PRESETS / preset}.yaml"]
    helm("lint", "CHART", "--strict", *options)


def test_the_schema_knows_every_value_and_no_other() -> None:
    """The schema has exactly the values of values.yaml, at every depth."""
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    del schema["properties"]["enabled"]  # of charts that depend on this one
    assert _paths_of_schema(schema) >= _paths_of_values(_values())
    assert {path for path in _paths_of_schema(schema) if path.count(".") == 0} == set(_values())


@pytest.mark.parametrize("enabled", [True, False])
def test_another_chart_may_have_it_as_a_dependency_with_a_condition(tmp_path: Path, enabled: bool) -> None:  # noqa: FBT001
    """Helm validates the condition of a dependency against its schema as well."""
    dependency = {"name": "infpop", "version": "*", "repository": "", "condition": "infpop.enabled"}
    outer = {"apiVersion": "v2", "name": "outer", "version": "1.0.0", "dependencies": [dependency]}
    shutil.copytree(CHART, tmp_path / "outer" / "charts" / "infpop")
    (tmp_path / "outer" / "Chart.yaml").write_text(yaml.safe_dump(outer))
    images = "--set=infpop.image.repository=r/op,infpop.runner.image.optional=true,global.imageRegistry=mirror.io"
    options = (images, f"--set=infpop.enabled={enabled}".lower())
    text = helm("template", "outer", "CHART", *options, chart=tmp_path / "outer")
    assert ("image: mirror.io/r/op" in text) is enabled
    assert bool(of_kind([each for each in yaml.safe_load_all(text) if each], "Deployment")) is enabled


@pytest.mark.parametrize("repository", ["infpop-operator", "registry:5000/infpop-operator", "r.example.com/team/op"])
def test_a_registry_may_have_a_port(repository: str) -> None:
    """A port before a slash is not taken for a tag."""
    assert _container({"image": {"repository": repository}})["image"] == f"{repository}:{__version__}"


def test_parts_of_a_second_may_be_set_on_the_command_line() -> None:
    """`--set` passes 0.5 as text and 5 as a number; the operator reads both."""
    documents = rendered("--set=operator.tickSeconds=0.5", "--set=operator.stopSeconds=5")
    (deployment,) = of_kind(documents, "Deployment")
    given = {each["name"]: each["value"] for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    settings = operator_settings.settings_from(given, namespace=None)
    assert (settings.tick_seconds, settings.stop_seconds) == (0.5, 5.0)


@pytest.mark.parametrize(("address", "loopback"), [("0.0.0.0", "127.0.0.1"), ("[::]", "::1")])  # noqa: S104 - in a Pod
def test_probes_are_answered_where_a_cluster_has_its_pods(address: str, loopback: str) -> None:
    """In an IPv6-only cluster, one value lets probes reach the operator."""
    if loopback == "::1" and not has_ipv6_loopback():
        pytest.skip("this machine has no address of IPv6")
    command = _container({"operator": {"probeAddress": address}})["command"]
    url = urlsplit(command[command.index("--liveness") + 1])
    with closing(socket.create_server((url.hostname, 0), family=_family(url.hostname or ""))) as server:
        socket.create_connection((loopback, server.getsockname()[1]), timeout=5).close()


def test_names_of_digits_stay_text() -> None:
    """A namespace, an account or a release may be called 2024; YAML would read it as a number, which is refused."""
    values = {
        "nameOverride": "1",
        "watchNamespace": "2",
        "priorityClassName": "3",
        "serviceAccount": {"name": "4"},
        "prometheus": {"secretName": "5"},
        "metrics": EVERYTHING["metrics"],
        "networkPolicy": {"enabled": True},
        "rbac": {"namespaced": True},
    }
    assert _numbers(rendered(values=values, namespace="6", release="r7")) == set()
    assert _numbers(rendered(release="8")) == set()


def test_every_value_has_its_comment() -> None:
    """A reader of values.yaml does not need to read the templates."""
    before, bare = "", []
    for line in (CHART / "values.yaml").read_text().splitlines():
        key = re.match(r" *[A-Za-z]+:", line)
        if key and not line.endswith(":") and not before.lstrip().startswith("#"):
            bare.append(line)
        before = line
    assert bare == []


def test_the_chart_is_of_this_version() -> None:
    """The requested images have the version of these sources."""
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_the_definition_is_the_projects_own() -> None:
    """The chart installs the CRD of `crds/`, which uninstalling keeps unless the user sets otherwise."""
    name = "infpop.io_throughputstudies.yaml"
    assert (CHART / "files" / "crd.yaml").read_bytes() == (ROOT / "crds" / name).read_bytes()
    (kept,) = of_kind(rendered(), "CustomResourceDefinition")
    assert kept["spec"] == yaml.safe_load((ROOT / "crds" / name).read_text())["spec"]
    assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    (given_up,) = of_kind(rendered(values={"crds": {"keep": False}}), "CustomResourceDefinition")
    assert "annotations" not in given_up["metadata"]
    assert of_kind(rendered(values={"crds": {"install": False}}), "CustomResourceDefinition") == []


def test_rights_are_those_of_the_examples() -> None:
    """Installing by hand and by Helm grants the same rules, with the same reasons."""
    by_hand = list(yaml.safe_load_all((ROOT / "examples" / "cluster" / "rbac.yaml").read_text()))
    (role,) = (role for role in of_kind(rendered(), "ClusterRole") if role["metadata"]["name"] == "infpop")
    (expected,) = of_kind(by_hand, "ClusterRole")
    assert _sorted_rules(role["rules"]) == _sorted_rules(expected["rules"])
    reasons = re.findall(r"^ *# .*$", (CHART / "templates" / "_rules.tpl").read_text(), flags=re.MULTILINE)
    assert set(reasons) <= set((ROOT / "examples" / "cluster" / "rbac.yaml").read_text().splitlines())
    users = list(yaml.safe_load_all((ROOT / "examples" / "cluster" / "users.yaml").read_text()))
    made = {role["metadata"]["name"]: role["rules"] for role in of_kind(rendered(), "ClusterRole")}
    assert {role["metadata"]["name"]: role["rules"] for role in users}.items() <= made.items()


def test_a_role_alone_is_enough() -> None:
    """S-2: for one namespace, every object is namespaced, and no permission exceeds the namespace."""
    documents = rendered(f"--values={PRESETS / 'one-namespace.yaml'}", namespace="team")
    assert {document["metadata"].get("namespace") for document in documents} == {"team"}
    (role,) = (role for role in of_kind(documents, "Role") if role["metadata"]["name"] == "infpop")
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert resources.isdisjoint({"nodes", "namespaces", "customresourcedefinitions", "secrets", "*"})


def test_scopes_get_no_more_than_they_need() -> None:
    """An operator of one namespace cannot list namespaces; with a Role it has one rule outside it."""
    one = {"watchNamespace": "serving"}
    (wide,) = of_kind(rendered(values={**one, "users": {"aggregate": False}}), "ClusterRole")
    resources = {resource for rule in wide["rules"] for resource in rule["resources"]}
    assert resources.isdisjoint({"namespaces", "customresourcedefinitions"})
    narrow = rendered(values={**one, "rbac": {"namespaced": True}, "users": {"aggregate": False}})
    (nodes,) = of_kind(narrow, "ClusterRole")
    assert nodes["metadata"]["name"] == "infpop-infpop"
    assert nodes["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}]
    assert {role["metadata"]["namespace"] for role in of_kind(narrow, "Role")} == {"serving"}


@pytest.mark.parametrize("values", [{"rbac": {"namespaced": True}}, {"watchNamespace": "serving"}])
def test_operators_of_one_namespace_each_live_side_by_side(values: Document) -> None:
    """Two teams install under the same release name without sharing cluster-scoped objects."""
    values = {**values, "crds": {"install": False}}
    one, other = (
        {(each["kind"], each["metadata"]["name"]) for each in documents if "namespace" not in each["metadata"]}
        for documents in (rendered(values=values, namespace=name) for name in ("one", "other"))
    )
    assert one
    assert one.isdisjoint(other)


def test_no_role_may_read_secrets_or_everything() -> None:
    """S-1: no permission on Secrets and no wildcard, in any scope."""
    for values in ({}, {"rbac": {"namespaced": True}}, EVERYTHING):
        documents = rendered(values=values)
        rules = [
            rule for kind in ("Role", "ClusterRole") for role in of_kind(documents, kind) for rule in role["rules"]
        ]
        assert rules
        assert "secrets" not in str(rules)
        assert "*" not in str(rules)


def test_rights_may_be_managed_outside_the_chart() -> None:
    """A user who may not create Roles installs without them, for an existing service account."""
    values = {
        "rbac": {"create": False},
        "serviceAccount": {"create": False, "name": "mine"},
        "users": {"aggregate": False},
    }
    documents = rendered("--no-hooks", values=values)
    assert {"Role", "ClusterRole", "ServiceAccount"}.isdisjoint(document["kind"] for document in documents)
    (deployment,) = of_kind(documents, "Deployment")
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


def test_settings_reach_the_operator() -> None:
    """Each variable that the operator reads has a value, and no other variable is set."""
    known = {value for name, value in vars(operator_settings).items() if name.endswith("_VARIABLE")}
    given = {each["name"] for each in _container(EVERYTHING)["env"]} - {"HTTPS_PROXY"}
    assert given == known - {operator_settings.METRICS_PORT_VARIABLE}  # the command line sets it
    without = {each["name"] for each in _container({})["env"]}
    assert {name for name in without if "PROMETHEUS" in name or "SCRAPE" in name} == set()


def test_paths_in_the_environment_are_mounted() -> None:
    """Each file named in the operator's environment lies in a volume of its Pod."""
    container = _container(EVERYTHING)
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    files = [each["value"] for each in container["env"] if each["name"].endswith("_FILE")]
    assert len(files) == 6
    assert all(str(Path(file).parent) in mounts for file in files)
    (pod,) = (each["spec"]["template"]["spec"] for each in of_kind(rendered(values=EVERYTHING), "Deployment"))
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_one_operator_at_a_time_and_restricted() -> None:
    """S-3, H4: one replica, replaced only after it is gone; not root, read-only, no capabilities, with probes."""
    for values in ({}, EVERYTHING):
        documents = rendered(values=values)
        (deployment,) = of_kind(documents, "Deployment")
        assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
        pods = [deployment["spec"]["template"]["spec"], *(pod["spec"] for pod in of_kind(documents, "Pod"))]
        for pod in pods:
            # No numeric user or group: OpenShift assigns each namespace its own, and refuses others.
            assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
            (container,) = pod["containers"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        probed = deployment["spec"]["template"]["spec"]["containers"][0]
        assert {key for key in probed if key.endswith("Probe")} == {"startupProbe", "livenessProbe", "readinessProbe"}


def test_no_pod_lands_on_windows() -> None:
    """AKS, EKS and GKE clusters may have Windows Nodes, which cannot pull the images."""
    documents = rendered()
    (deployment,), (watcher,) = of_kind(documents, "Deployment"), of_kind(documents, "Pod")
    (study,) = of_kind(documents, "ThroughputStudy")
    for part in (deployment["spec"]["template"]["spec"], watcher["spec"], *study["spec"]["nodePools"]):
        assert part["nodeSelector"]["kubernetes.io/os"] == "linux"


def test_a_digest_comes_before_a_tag() -> None:
    """A digest pins the image; without one the tag is this version."""
    digest = f"sha256:{'0' * 64}"
    assert _container({})["image"] == f"infpop-operator:{__version__}"
    assert _container({"image": {"repository": "r/op", "tag": "1"}})["image"] == "r/op:1"
    assert _container({"image": {"repository": "r/op", "tag": "1", "digest": digest}})["image"] == f"r/op@{digest}"


def test_what_selects_the_operator_does_not_select_the_pod_of_the_test() -> None:
    """`helm test` runs a Pod of this release that is not an operator, and is neither scraped nor counted as one."""
    documents = rendered(values=EVERYTHING)
    (deployment,), (pod,) = of_kind(documents, "Deployment"), of_kind(documents, "Pod")
    (service,), (policy,) = of_kind(documents, "Service"), of_kind(documents, "NetworkPolicy")
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        policy["spec"]["podSelector"]["matchLabels"],
    ]
    operator = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in selectors:
        assert selector.items() <= operator.items()
        assert not selector.items() <= pod["metadata"]["labels"].items()
    (monitor,) = of_kind(documents, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()


def test_kinds_that_a_cluster_does_not_know_are_left_out() -> None:
    """O7: without the Prometheus Operator the chart still installs, and its notes say what is missing."""
    kinds = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
    assert kinds <= {document["kind"] for document in rendered(values=EVERYTHING)}
    assert kinds.isdisjoint(document["kind"] for document in rendered(values=EVERYTHING, apis=()))
    assert kinds.isdisjoint(document["kind"] for document in rendered())


def test_monitors_scrape_as_the_alerts_expect() -> None:
    """`namespace` keeps the study's value, and runs are discovered as in the example."""
    documents = rendered(values={"metrics": EVERYTHING["metrics"]})
    (service,), (runs,) = of_kind(documents, "ServiceMonitor"), of_kind(documents, "PodMonitor")
    assert [endpoint["honorLabels"] for endpoint in service["spec"]["endpoints"]] == [True]
    example = yaml.safe_load((ROOT / "examples" / "cluster" / "podmonitor.yaml").read_text())
    assert runs["spec"] == example["spec"]
    (rule,) = of_kind(documents, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(RULES.read_text())


def test_dashboards_are_the_projects_own() -> None:
    """Each file in charts/infpop/dashboards becomes one ConfigMap, byte for byte."""
    made = [
        document
        for document in of_kind(rendered(values={"metrics": EVERYTHING["metrics"]}), "ConfigMap")
        if document["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    ]
    texts = {key: text for document in made for key, text in document["data"].items()}
    assert texts == {f"infpop-{path.name}": path.read_text().rstrip("\n") + "\n" for path in FOLDER.glob("*.json")}


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _numbers(documents: list[Document]) -> set[str]:
    """Return the keys of objects whose values are numbers where Kubernetes requires text."""
    found = set()
    for document in documents:
        pod = document["spec"].get("template", document)["spec"] if document["kind"] in ("Deployment", "Pod") else {}
        monitored = document.get("spec", {}).get("namespaceSelector", {}).get("matchNames", [])
        texts = {
            **document["metadata"],
            **document["metadata"].get("labels", {}),
            **{key: pod.get(key) for key in ("serviceAccountName", "priorityClassName")},
            **{
                f"volume {n}": each.get("secret", {}).get("secretName") for n, each in enumerate(pod.get("volumes", []))
            },
            **{f"command {n}": each for n, each in enumerate(pod.get("containers", [{}])[0].get("command", []))},
            **{f"matchNames {n}": each for n, each in enumerate(monitored)},
            **{f"subject {n}": each["namespace"] for n, each in enumerate(document.get("subjects", []))},
        }
        found |= {f"{document['kind']}: {key}" for key, value in texts.items() if isinstance(value, int | float)}
    return found


def _values() -> Document:
    values: Document = yaml.safe_load((CHART / "values.yaml").read_text())
    return values


def _container(values: Document) -> Document:
    (deployment,) = of_kind(rendered(values=values), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def _sorted_rules(rules: list[Document]) -> list[str]:
    return sorted(yaml.safe_dump(rule) for rule in rules)


def _paths_of_values(values: Document, prefix: str = "") -> set[str]:
    paths = {f"{prefix}{key}" for key in values}
    free = {"annotations", "labels", "requests", "limits", "nodeSelector", "affinity", "podAnnotations", "podLabels"}
    free |= {"commonLabels", "podSecurityContext", "securityContext"}
    for key, value in values.items():
        if isinstance(value, dict) and key not in free:
            paths |= _paths_of_values(value, f"{prefix}{key}.")
    return paths


def _paths_of_schema(schema: Document, prefix: str = "") -> set[str]:
    paths = set()
    for key, part in schema.get("properties", {}).items():
        paths |= {f"{prefix}{key}"} | _paths_of_schema(part, f"{prefix}{key}.")
    return paths
