"""InfPop as a user installs it: the chart by helm, its image on the nodes, the operator in a pod."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from charts.helm import CHART, helm
from cluster.operator_process import FORBIDDEN_WORDS
from cluster.place import Body, Place
from controlplane.cluster import ControlPlane
from controlplane.waiting import wait_for
from images.build import Images

NAMESPACE = "infpop-system"
RELEASE = "infpop"
SECONDS = 90.0
_BEFORE, _LONGEST_COMPLAINT = 2_000, 20_000  # characters of a log
KINDS = "all,configmap,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding,networkpolicy,secret"


class Installation:
    """The release `infpop` on a cluster.

    Args:
        control_plane: of the cluster.
        images: that the nodes have.
        prometheus_url: as pods reach it.
        directory: for files of values.
    """

    def __init__(self, control_plane: ControlPlane, images: Images, prometheus_url: str, directory: Path) -> None:
        self.cluster = control_plane
        self.place = Place(control_plane, NAMESPACE)
        self._values = directory / "values.yaml"
        self._values.write_text(yaml.safe_dump(_values(images, prometheus_url)))

    def install(self, *options: str, chart: Path = CHART) -> str:
        """Install it, return the notes when the operator's pod is ready."""
        return self._helm("install", *options, chart=chart)

    def upgrade(self, *options: str, chart: Path = CHART) -> str:
        """Upgrade it, return the notes when the new operator's pod is ready."""
        return self._helm("upgrade", *options, chart=chart)

    def uninstall(self) -> None:
        """Uninstall it and wait until its objects are gone."""
        helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", kubeconfig=self.cluster.kubeconfig)

    def test(self) -> str:
        """Return what `helm test` wrote."""
        return helm("test", RELEASE, "--namespace", NAMESPACE, "--timeout=110s", kubeconfig=self.cluster.kubeconfig)

    def pod(self) -> Body:
        """Return the operator's pod that runs."""
        return wait_for(self._find_pod, seconds=SECONDS, what="the operator's pod")

    def restarts(self) -> int:
        """Return how often the kubelet started the operator's container again."""
        return int(self.pod()["status"]["containerStatuses"][0]["restartCount"])

    def log(self, *options: str) -> str:
        """Return what the operator that runs now has logged; with `--previous`, the one before in the same pod."""
        return self.cluster.kubectl("logs", self.pod()["metadata"]["name"], "--namespace", NAMESPACE, *options)

    def objects(self) -> list[str]:
        """Return the names of all objects of the release, other than the definition of studies."""
        selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
        return self.cluster.kubectl("get", KINDS, "--all-namespaces", selector, "--output=name").split()

    def expect_a_clean_log(self, *options: str) -> None:
        """Fail, with the log, if there is something in it that must not be there; `options` as of `log`."""
        log = self.log(*options)
        found = [place for word in FORBIDDEN_WORDS if (place := log.find(word)) >= 0]
        if found:
            raise AssertionError(f"the operator complains:\n{log[max(0, min(found) - _BEFORE) :][:_LONGEST_COMPLAINT]}")

    def _find_pod(self) -> Body | None:
        found = [each for each in self.place.objects("pod") if _is_operator(each) and _is_ready(each)]
        return found[0] if len(found) == 1 else None

    def _helm(self, command: str, *options: str, chart: Path) -> str:
        common = ("--namespace", NAMESPACE, f"--values={self._values}", "--wait", "--timeout=110s")
        return helm(command, RELEASE, "CHART", *common, *options, kubeconfig=self.cluster.kubeconfig, chart=chart)


def installed_releases(cluster: ControlPlane) -> list[str]:
    """Return the names of all releases of the cluster."""
    listed = json.loads(helm("list", "--all-namespaces", "--output=json", kubeconfig=cluster.kubeconfig))
    return [release["name"] for release in listed]


def _values(images: Images, prometheus_url: str) -> Mapping[str, Any]:
    return {
        "image": _image(images.operator.reference),
        "runner": {"image": _image(images.runner.reference)},
        "operator": {"tickSeconds": 1, "resyncSeconds": 10, "statusPauseSeconds": 0.2},
        "prometheus": {"url": prometheus_url},
        "metrics": {"scrapeGrace": 20},
        # Scraped as the pods of runs are.
        "podAnnotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8000"},
        # On a machine with two CPUs a run of two has to fit beside it.
        "resources": {"requests": {"cpu": "0"}},
    }


def _image(reference: str) -> dict[str, str]:
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}


def _is_operator(pod: Body) -> bool:
    return bool(pod["metadata"]["labels"].get("app.kubernetes.io/component") == "operator")


def _is_ready(pod: Body) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and any(
        (each["type"], each["status"]) == ("Ready", "True") for each in pod["status"].get("conditions", ())
    )
