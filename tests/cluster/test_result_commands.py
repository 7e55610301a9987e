"""`infpop show`, `infpop compare` and `infpop.load` of a study on a real API server, with an archived round."""

import pytest
from typer.testing import CliRunner

import infpop
from cluster.place import Place, throughput
from controlplane.behaviours import replay
from infpop_operator.cli.main import app

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("quick_operator")]


def test_an_archived_round_is_read_from_the_journal(place: Place) -> None:
    """After a retuning the old round still has its landscape, best and full numbers, which the status lacks."""
    place.study(searchSpace={"gpuCount": [2], "batchSize": [8, 64]}, budget={"maxTrials": 2})
    with place.kubelet(replay(throughput)):
        place.wait_for("Succeeded")
        place.change(workload={"maxNewTokens": 64})
        place.wait(lambda status: status["pools"][0]["round"] == 2, what="another round")
        status = place.wait_for("Succeeded")
    source = ("study/study", "--namespace", place.namespace, "--kubeconfig", str(place.cluster.kubeconfig))
    page = CliRunner().invoke(app, ["show", *source], env={"COLUMNS": "80"})
    assert (page.exit_code, page.stderr) == (0, "")
    assert "2 GPUs, batch size 64" in page.stdout
    first = CliRunner().invoke(app, ["show", *source, "--round", "1"], env={"COLUMNS": "80"})
    assert (first.exit_code, first.stderr) == (0, "")
    assert "archived: round 2 is the newest" in first.stdout
    assert "Best of round 1" in first.stdout
    rounds = [f"study/study#round={number}" for number in (1, 2)]
    other = CliRunner().invoke(app, ["compare", *rounds, *source[1:]], env={"COLUMNS": "80"})
    assert other.exit_code == 3
    assert "workload" in other.output
    same = CliRunner().invoke(app, ["compare", rounds[0], rounds[0], *source[1:]], env={"COLUMNS": "80"})
    assert same.exit_code == 0, same.output

    study = infpop.load(f"study/{place.namespace}/study", kubeconfig=str(place.cluster.kubeconfig))
    assert (study.notes, study.in_progress) == ((), False)
    assert study.trials["round"].tolist() == [row["round"] for row in status["trials"]]
    assert study.trials.load_seconds.notna().all()
    assert study.only(round=1).trials.workload.nunique() == 1
    assert study.trials.workload.nunique() == 2
    best = study.only(round=1).best
    assert best is not None
    assert best.throughput_tokens_per_second == pytest.approx(throughput(2, 64))
