"""`infpop.tune` and `infpop.validate`: the same code as the commands, called from a program."""

import threading
from pathlib import Path

import pytest
import yaml

import infpop
from local.local_studies import history_of as history_in
from local.local_studies import study_document, write_study

pytestmark = pytest.mark.process


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_dict_is_tuned_and_each_trial_told(here: Path) -> None:
    """The results are where `infpop tune` writes them, and resuming tells no trial twice."""
    told: list[infpop.Trial] = []
    study = infpop.tune(study_document(), on_trial=told.append)
    assert study.best is not None
    assert (study.best.gpu_count, study.best.batch_size) == (2, 8)
    assert (here / "infpop-results" / "study" / "journal.jsonl").exists()
    assert [(row.trial, row.throughput_tokens_per_second) for row in told] == [
        (row.trial, row.throughput_tokens_per_second) for row in told_of(study)
    ]
    again: list[infpop.Trial] = []
    assert infpop.tune(study_document(), on_trial=again.append).best == study.best
    assert again == []


def told_of(study: infpop.Study) -> list[infpop.Trial]:
    """Return the trials of a study, as it was loaded."""
    return list(study._table.trials)


def test_an_exception_of_on_trial_ends_the_tuning_and_keeps_the_results(here: Path) -> None:
    """A program may stop on the first number that it dislikes, and go on later."""

    def stop(trial: infpop.Trial) -> None:
        raise RuntimeError(f"{trial.gpu_count} GPUs are enough")

    path = write_study(here, searchSpace={"gpuCount": [1], "batchSize": [4, 8]})
    with pytest.raises(RuntimeError, match="GPUs are enough"):
        infpop.tune(path, here / "out", on_trial=stop)
    assert len(history_in(here / "out").ended) == 1
    rest: list[infpop.Trial] = []
    assert infpop.tune(path, here / "out", on_trial=rest.append).best is not None
    assert len(rest) == 1


def test_text_is_tuned_in_another_thread(here: Path) -> None:
    """Signals belong to the main thread, so nothing is handled there."""
    found: list[infpop.Study] = []
    text = yaml.safe_dump(study_document(searchSpace={"gpuCount": [1], "batchSize": [4]}))
    thread = threading.Thread(target=lambda: found.append(infpop.tune(text, here / "out")))
    thread.start()
    thread.join()
    assert found[0].best is not None


@pytest.mark.parametrize("form", ["path", "text", "dict"])
def test_problems_have_field_value_message_and_remedy(here: Path, form: str) -> None:
    """However the study is given; a right one has none."""
    document = study_document(searchSpace={"gpuCount": [1, 0], "batchSize": [4]})
    path = write_study(here, searchSpace=document["spec"]["searchSpace"])
    wrong = {"path": path, "text": yaml.safe_dump(document), "dict": document}[form]
    (problem,) = infpop.validate(wrong)
    assert problem.field == "spec.searchSpace.gpuCount[1]"
    assert (problem.value, bool(problem.message), bool(problem.remedy)) == ("0", True, True)
    with pytest.raises(infpop.StudyError, match="gpuCount"):
        infpop.tune(wrong)
    assert infpop.validate(study_document()) == []


def test_a_study_is_checked_for_a_cluster() -> None:
    """What a file on this machine may name, a cluster does not have."""
    document = study_document(engine={"name": "vllm"}, workload={"source": {"file": {"path": "prompts.jsonl"}}})
    (problem,) = infpop.validate(document, target="cluster")
    assert problem.field == "spec.workload.source.file.path"
    assert infpop.validate(study_document(), target="cluster") == []


def test_an_unknown_target_is_no_answer_about_another_place() -> None:
    """A misspelled target is refused, as by the command."""
    with pytest.raises(ValueError, match="Use one of: machine, cluster"):
        infpop.validate(study_document(), target="Cluster")  # type: ignore[arg-type]


def test_what_is_no_study_is_a_problem_too(here: Path) -> None:
    """A path that does not exist, and a dict with what YAML cannot hold."""
    (missing,) = infpop.validate(here / "nowhere.yaml")
    assert missing.message == "does not exist"
    (odd,) = infpop.validate({"kind": object()})
    assert odd.message.startswith("has a value that YAML cannot hold")
