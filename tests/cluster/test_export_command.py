"""`infpop export` of a study on a real API server."""

import pytest
from typer.testing import CliRunner

from cluster.place import Place, throughput
from controlplane.behaviours import replay
from infpop_operator.cli.main import app
from infpop_operator.export.tables import read_table

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]


def test_an_export_is_what_the_operator_published(place: Place) -> None:
    """The ConfigMap and the export have the same values, with every argument; a table has all trials."""
    space = {"gpuCount": [1, 2], "batchSize": [8]}
    place.study(searchSpace=space, algorithm={"name": "grid", "trialsPerRun": 1}, publish={"configMap": "best"})
    with place.kubelet(replay(throughput)):
        place.wait_for("Succeeded")
        place.wait_until(lambda: place.find("configmap", "best"), what="the ConfigMap")
        place.wait(lambda status: status.get("published"), what="status.published")
    source = ("study/study", "--namespace", place.namespace, "--kubeconfig", str(place.cluster.kubeconfig))
    done = CliRunner().invoke(app, ["export", *source, "--format", "helm-values"])
    assert (done.exit_code, done.stderr) == (0, "")
    values = "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith("#"))
    published = place.get("configmap", "best")["data"]
    assert values == published["values.yaml"]
    table = CliRunner().invoke(app, ["export", *source, "--format", "csv"])
    trials = read_table(table.stdout_bytes, "csv")
    assert {row.source for row in trials} == {f"study/{place.namespace}/study"}
    numbers = {row.gpu_count: row.throughput_tokens_per_second for row in trials}
    assert numbers == {gpus: pytest.approx(throughput(gpus, 8)) for gpus in space["gpuCount"]}
    assert all(
        row.started_at is not None and row.load_seconds is not None for row in trials
    )  # the status alone does not have them
    line = CliRunner().invoke(app, ["export", *source, "--format", "vllm-args"]).stdout
    assert line == f"{published['ARGS_SHELL']}\n"
