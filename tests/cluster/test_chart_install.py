"""The chart on a real API server: every preset, upgrades, `helm test`, and what an uninstall leaves.

On a control plane of its own: one release owns the definition of studies, and the other tests have theirs.
"""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from charts.golden import PRESET_NAMES
from charts.helm import CHART, IMAGES, PRESETS, HelmError, helm, of_kind, rendered, template
from charts.history import chart_of
from charts.values import EVERYTHING
from cluster.conftest import QUICK
from cluster.operator_process import CRD, ROOT, SERVICE_ACCOUNT, OperatorProcess, running_operator
from cluster.place import Place, throughput
from cluster.studies import apply_documents, read_objects
from controlplane.behaviours import replay
from controlplane.cluster import ControlPlane, start_control_plane
from controlplane.nodes import added_nodes, gpu_node
from controlplane.waiting import wait_for
from factories.study_documents import make_study_document
from infpop_operator.api.crd import NAME
from prometheus.operator_crds import operator_crd

pytestmark = pytest.mark.cluster
NAMESPACE, ACCOUNT = SERVICE_ACCOUNT
VALUES = ("--namespace", NAMESPACE, f"--set=fullnameOverride={ACCOUNT}", IMAGES)
INFPOP = (sys.executable, "-m", "infpop_operator.cli.main")
SECONDS = 90.0
USERS = ROOT / "examples" / "cluster" / "users.yaml"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with the Prometheus Operator's definitions and a namespace that enforces "restricted"."""
    with start_control_plane(tmp_path_factory.mktemp("chart"), audit=True) as cluster:
        for plural in ("podmonitors", "prometheusrules", "servicemonitors"):
            cluster.kubectl("apply", "--server-side", "-f", str(operator_crd(plural)))
        for name in (NAMESPACE, "team"):
            cluster.kubectl("create", "namespace", name)
            cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield cluster


@pytest.fixture
def clean(cluster: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane without a release; afterwards without one again, and without the definition."""
    yield cluster
    for release in json.loads(helm("list", "--all-namespaces", "--output=json", kubeconfig=cluster.kubeconfig)):
        helm("uninstall", release["name"], "--namespace", release["namespace"], kubeconfig=cluster.kubeconfig)
    cluster.kubectl("delete", "crd", NAME, "--ignore-not-found")


@pytest.fixture
def release(clean: ControlPlane) -> ControlPlane:
    """The control plane with the chart as it is now, as the release `infpop`."""
    install(clean)
    return clean


def install(cluster: ControlPlane, *options: str, chart: Path = CHART) -> str:
    """Install a chart as the release `infpop`, wait until studies can be created, and return the notes."""
    notes = helm("install", "infpop", "CHART", *VALUES, *options, kubeconfig=cluster.kubeconfig, chart=chart)
    wait_for(lambda: is_served(cluster), seconds=SECONDS, what="studies to be served")
    return notes


def is_served(cluster: ControlPlane) -> bool:
    """Say whether the API server answers for studies."""
    try:
        cluster.admin.get("/apis/infpop.io/v1alpha1/throughputstudies")
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_a_preset_is_accepted(cluster: ControlPlane, preset: str) -> None:
    """`helm template | kubectl apply --dry-run=server`: no field is unknown and no value refused."""
    text = template("--no-hooks", f"--values={PRESETS / preset}.yaml", namespace=NAMESPACE)
    answer = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", input=text)
    lines = answer.splitlines()
    assert len(lines) == len(rendered("--no-hooks", f"--values={PRESETS / preset}.yaml", namespace=NAMESPACE))
    assert all(line.endswith("(server dry run)") for line in lines)


def test_everything_that_can_be_set_is_accepted(release: ControlPlane) -> None:
    """With every value set, and the objects of `helm test` too, there is nothing that the API server refuses."""
    documents = rendered(values=EVERYTHING, namespace=NAMESPACE)
    pods = of_kind(documents, "Pod")  # admission looks for its account, which a dry run does not create
    assert len(pods) == 1
    text = yaml.safe_dump_all(document for document in documents if document not in pods)
    answer = release.kubectl("apply", "--dry-run=server", "--validate=strict", "--filename=-", input=text)
    assert len(answer.splitlines()) == len(documents) - 1


def test_notes_show_the_next_commands(clean: ControlPlane) -> None:
    """After an install the next command can be copied, and what is missing is said."""
    notes = install(clean, "--set=runner.image.repository=,runner.image.optional=true")
    assert f"helm test infpop --namespace {NAMESPACE}" in notes
    assert "kubectl apply --namespace NAMESPACE -f examples/cluster/codellama-7b.yaml" in notes
    assert (ROOT / "examples" / "cluster" / "codellama-7b.yaml").exists()
    assert "runner.image.repository is empty" in notes
    assert "prometheus.url is empty" in notes
    assert "keeps all studies, their results" in notes
    somebody_elses = ("--set=crds.install=false", "--set=crds.keep=false", "--dry-run=server")
    planned = helm("upgrade", "infpop", "CHART", *VALUES, *somebody_elses, kubeconfig=clean.kubeconfig)
    assert "keeps all studies, their results" in planned


def test_the_operators_pod_is_admitted_where_restricted_is_enforced(release: ControlPlane) -> None:
    """S-3: the API server makes the pod in a namespace that enforces Pod Security "restricted"."""
    wait_for(lambda: read_objects(release, NAMESPACE, "pod"), seconds=SECONDS, what="the operator's pod")
    (pod,) = read_objects(release, NAMESPACE, "pod")
    assert pod["spec"]["serviceAccountName"] == ACCOUNT


def test_an_upgrade_brings_the_new_definition(clean: ControlPlane, tmp_path: Path) -> None:
    """H2: fields of a newer version are there after `helm upgrade`, and studies of the older one are kept."""
    old = older_chart(tmp_path / "old")
    install(clean, chart=old)
    assert "metrics" not in study_fields(clean)
    apply_documents(clean, make_study_document("kept", "team"))
    upgrade(clean)
    wait_for(lambda: "metrics" in study_fields(clean), seconds=SECONDS, what="the new definition")
    (study,) = read_objects(clean, "team", "tstudy")
    assert study["metadata"]["generation"] == 1
    assert "finalizers" not in study["metadata"]


def test_an_upgrade_from_the_last_commit_works(clean: ControlPlane, tmp_path: Path) -> None:
    """A user who upgrades gets the new objects."""
    install(clean, chart=chart_of("HEAD^", tmp_path))
    upgrade(clean)
    (deployment,) = read_objects(clean, NAMESPACE, "deployment")
    (expected,) = of_kind(rendered(*VALUES, namespace=NAMESPACE), "Deployment")
    assert deployment["metadata"]["labels"].items() >= expected["metadata"]["labels"].items()
    (now,), (wanted,) = (each["spec"]["template"]["spec"]["containers"] for each in (deployment, expected))
    assert (now["command"], now["env"], now["image"]) == (wanted["command"], wanted["env"], wanted["image"])


def test_a_release_that_is_upgraded_to_itself_changes_nothing(release: ControlPlane) -> None:
    """H5: no second `helm upgrade` finds anything to do, so that GitOps is in sync."""
    kinds = "deployment,service,serviceaccount,clusterrole,clusterrolebinding,crd"
    before = versions(release, kinds)
    upgrade(release)
    assert versions(release, kinds) == before


def test_an_uninstall_leaves_studies_and_nothing_else(release: ControlPlane) -> None:
    """H8: the definition, studies and their results stay; whatever else the release made is gone, and nothing hangs."""
    apply_documents(release, make_study_document("kept", "team"))
    helm("uninstall", "infpop", "--namespace", NAMESPACE, "--wait", kubeconfig=release.kubeconfig)
    assert [study["metadata"]["name"] for study in read_objects(release, "team", "tstudy")] == ["kept"]
    kinds = "all,configmap,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding,networkpolicy,secret"
    found = release.kubectl("get", kinds, "--all-namespaces", "--selector=app.kubernetes.io/instance=infpop", "-o=name")
    assert found == ""
    install(release)  # the same release takes the definition back
    assert [study["metadata"]["name"] for study in read_objects(release, "team", "tstudy")] == ["kept"]


def test_helm_test_runs_a_study_to_its_end(release: ControlPlane, tmp_path: Path) -> None:
    """H3: `helm test` is green once the operator has brought a simulated study to its result, and tidies up."""
    name = f"{ACCOUNT}-test"
    with (
        closing(Place(release, NAMESPACE)) as place,
        added_nodes(
            release, gpu_node("cpu", extra_labels={"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"})
        ),
        running_operator(release, tmp_path, namespace=None, environment=QUICK),
        place.kubelet(replay(throughput)),
        PlayedWatcher(place, name) as watcher,
    ):
        answer = helm("test", "infpop", "--namespace", NAMESPACE, "--timeout=90s", kubeconfig=release.kubeconfig)
    assert "Phase:          Succeeded" in answer
    assert watcher.exit_code == 0
    assert "3 measured" in watcher.output
    kinds = ("get", "tstudy,job,pod,role,rolebinding,sa,configmap", "--namespace", NAMESPACE, "--output=name")
    wait_for(lambda: name not in release.kubectl(*kinds), seconds=SECONDS, what="nothing left of the test")


def test_a_failed_helm_test_says_why(clean: ControlPlane, tmp_path: Path) -> None:
    """H3: where no run can be started, `helm test` is red in time, and its pod stays and has said the reason."""
    install(clean, '--set-json=test.nodeSelector={"kubernetes.io/arch":"none"}', "--set=test.timeoutSeconds=30")
    name = f"{ACCOUNT}-test"
    with (
        closing(Place(clean, NAMESPACE)) as place,
        running_operator(clean, tmp_path, namespace=NAMESPACE, environment=QUICK),
        PlayedWatcher(place, name) as watcher,
        pytest.raises(HelmError, match=f"pod {name} failed"),
    ):
        helm("test", "infpop", "--namespace", NAMESPACE, "--timeout=90s", kubeconfig=clean.kubeconfig)
    assert watcher.exit_code != 0
    assert "NoMatchingNodes" in watcher.output
    assert read_objects(clean, NAMESPACE, "pod", name)["status"]["phase"] == "Failed"


class PlayedWatcher:
    """Plays the kubelet of the pod of `helm test`: its command, with its rights, for as long as it may take."""

    def __init__(self, place: Place, name: str) -> None:
        self._place = place
        self._name = name
        self._thread = threading.Thread(target=self._play)
        self.exit_code: int | None = None
        self.output = ""

    def __enter__(self) -> Self:
        """Begin to wait for the pod."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the end of its command."""
        self._thread.join()

    def _play(self) -> None:
        pod: dict[str, Any] = wait_for(
            lambda: self._place.find("pod", self._name), seconds=SECONDS, what="the pod of the test"
        )
        command = pod["spec"]["containers"][0]["command"]
        assert command[0] == "infpop"
        account = pod["spec"]["serviceAccountName"]
        kubeconfig = self._place.cluster.kubeconfig_for(NAMESPACE, account)
        arguments = [*INFPOP, *command[1:], "--kubeconfig", str(kubeconfig)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                self.output, _ = process.communicate(timeout=pod["spec"]["activeDeadlineSeconds"])
            except subprocess.TimeoutExpired:
                process.terminate()
                self.output, _ = process.communicate()
        self.exit_code = process.returncode
        phase = json.dumps({"status": {"phase": "Failed" if self.exit_code else "Succeeded"}})
        options = ("--subresource=status", "--type=merge", f"--patch={phase}", "--namespace", NAMESPACE)
        self._place.cluster.kubectl("patch", "pod", self._name, *options)


def test_a_role_alone_is_enough(clean: ControlPlane, tmp_path: Path) -> None:
    """S-2: an operator without rights outside one namespace reads the nodes from a file and completes a study.

    The user who installs it is the admin of that namespace and nothing else.
    """
    clean.kubectl("apply", "--server-side", "-f", str(CRD), "-f", str(USERS))
    options = (
        f"--values={PRESETS / 'one-namespace.yaml'}",
        "--namespace",
        "team",
        "--set=fullnameOverride=narrow",
        IMAGES,
    )
    helm("install", "narrow", "CHART", *options, kubeconfig=admin_of(clean, "team"))
    (deployment,) = read_objects(clean, "team", "deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text(read_objects(clean, "team", "configmap", "narrow-nodes")["data"]["nodes.yaml"])
    environment |= {"INFPOP_NODES_FILE": str(nodes), **QUICK}
    with (
        closing(Place(clean, "team")) as place,
        added_nodes(clean, gpu_node("gpu-1")),
        running_operator(
            clean, tmp_path, namespace=None, environment=environment, account=("team", "narrow")
        ) as operator,
        place.kubelet(replay(throughput)),
    ):
        place.study(nodePools=[{"name": "a100", "gpuProduct": "A100"}], publish={"configMap": "best"})
        place.wait_for("Succeeded")
        place.wait_until(lambda: place.find("configmap", "best"), what="the ConfigMap")
        assert operator.is_running()


def test_a_wrong_file_of_nodes_ends_the_operator_at_once(release: ControlPlane, tmp_path: Path) -> None:
    """A file that is not a list of nodes is reported in the log, and the pod crashes instead of waiting for nodes."""
    (tmp_path / "nodes.yaml").write_text("gpu-1")
    environment = {"INFPOP_NODES_FILE": str(tmp_path / "nodes.yaml")}
    operator = OperatorProcess(release, tmp_path, namespace="team", environment=environment)
    operator.start()
    assert operator.wait(SECONDS) != 0
    assert "Give a list of nodes, each with name, labels and capacity." in operator.text()


def admin_of(cluster: ControlPlane, namespace: str) -> Path:
    """Return a kubeconfig of a user who has the role `admin` in a namespace, once that role has all its parts."""
    cluster.kubectl("create", "rolebinding", "alice", "--clusterrole=admin", "--user=alice", "--namespace", namespace)
    question = ("auth", "can-i", "update", f"{NAME}/study", "--subresource=status", "--as=alice")

    def has_it() -> bool:
        try:
            return cluster.kubectl(*question, "--namespace", namespace).strip() == "yes"
        except AssertionError:
            return False

    wait_for(has_it, seconds=SECONDS, what="the role admin to be put together")
    return cluster.user_kubeconfig("alice")


def upgrade(cluster: ControlPlane) -> None:
    """Upgrade the release to the chart as it is now."""
    helm("upgrade", "infpop", "CHART", *VALUES, kubeconfig=cluster.kubeconfig)


def older_chart(folder: Path) -> Path:
    """Return a copy of the chart whose definition lacks a field that was added later."""
    shutil.copytree(CHART, folder)
    file = folder / "files" / "crd.yaml"
    definition = yaml.safe_load(file.read_text())
    del definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["metrics"]
    rules = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    rules["x-kubernetes-validations"] = [
        rule for rule in rules.get("x-kubernetes-validations", ()) if "metrics" not in rule["rule"]
    ]
    file.write_text(yaml.safe_dump(definition))
    chart = folder / "Chart.yaml"
    chart.write_text(chart.read_text().replace("\nversion: ", "\nversion: 0.0.1-before."))
    return folder


def study_fields(cluster: ControlPlane) -> set[str]:
    """Return the fields of a study's spec that the API server knows."""
    definition = json.loads(cluster.kubectl("get", "crd", NAME, "--output=json"))
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return set(schema["properties"]["spec"]["properties"])


def versions(cluster: ControlPlane, kinds: str) -> dict[str, int | None]:
    """Return the generation of the release's objects, or their version where they have none."""
    options = ("--all-namespaces", "--selector=app.kubernetes.io/instance=infpop", "--output=json")
    found = json.loads(cluster.kubectl("get", kinds, *options))["items"]
    return {
        f"{each['kind']}/{each['metadata']['name']}": each["metadata"].get(
            "generation", each["metadata"]["resourceVersion"]
        )
        for each in found
    }
