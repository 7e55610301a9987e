"""An object of the API server is a study or is explained; what is hostile in it is data; it can be written out."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from api.documents import VALID, Document, changed
from api.rule_examples import EXAMPLES
from factories.studies import make_pool
from infpop_operator.api.convert import WORKLOAD_DIRECTORY, to_source, to_study
from infpop_operator.api.parse import parse_document, parse_object
from infpop_operator.api.render import render_study
from infpop_operator.core.errors import StudyError
from infpop_operator.core.space import cells
from infpop_runner.contract import FileSource

HOSTILE = [
    "--foo; rm -rf /",
    "{0.__class__}",
    "{value}",
    "$(cmd)",
    "`cmd`",
    "%s%n",
    "../../etc",
    "<&>",
    "\x1b[2J",
    "a\nb",
]
NAMES = [
    "metadata.name",
    "spec.model.cacheClaim",
    "spec.engine.image",
    "spec.nodePools.0.name",
    "spec.nodePools.0.gpuResource",
    "spec.nodePools.0.resources.cpu",
    "spec.nodePools.0.resources.memory",
    "spec.scheduling.queueName",
    "spec.scheduling.priorityClassName",
    "spec.publish.configMap",
    "spec.budget.deadline",
    "spec.engine.gpuMemoryUtilization",
]


def problems(document: Document) -> str:
    """Return the whole message that a bad object gets."""
    with pytest.raises(StudyError) as caught:
        parse_object(document)
    return str(caught.value)


def test_an_object_is_read_with_all_that_the_api_server_adds() -> None:
    """Status, managed fields and labels are not the study's business."""
    added = {"uid": "u", "managedFields": [{"manager": "kubectl"}], "annotations": {"a": "b"}, "generation": 3}
    body = {**VALID, "metadata": {**VALID["metadata"], **added}, "status": {"novelty": 1}}
    assert parse_object(body) == parse_object(VALID)


def test_a_field_of_a_newer_version_is_refused_with_what_to_do() -> None:
    """It may change the meaning of the others; the operator neither guesses nor fails."""
    message = problems(changed({"spec.retune": {"policy": "Never"}}))
    assert "spec.retune: unknown field." in message
    assert message.endswith("If the field belongs to a newer version, upgrade the operator.")


@pytest.mark.parametrize("body", [{}, {"spec": None}, {"metadata": [], "spec": "x"}, {**VALID, "spec": {"model": 1}}])
def test_an_object_without_a_study_in_it_is_explained(body: dict[str, Any]) -> None:
    """An object that an older CRD let through is no reason to fail."""
    assert problems(body)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("path", NAMES)
def test_hostile_text_is_no_name(path: str, text: str) -> None:
    """What becomes part of a name, a label or a number consists of harmless characters, and is told of unharmed."""
    if path == "spec.engine.image" and " " not in text and text.isprintable():
        assert parse_object(changed({path: text})).spec.engine.image == text
        return
    message = problems(changed({path: text}))
    assert path.replace(".0.", "[0].") in message
    assert message.isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_as_a_value_is_kept_as_it_is(text: str) -> None:
    """Arguments reach the engine as data: never a format, never an expression, never a shell."""
    extra = [{"name": "swap", "values": [text]}]
    changes = {"spec.engine.args": {"block_size": text}, "spec.searchSpace.extra": extra, "spec.model.name": text}
    document = parse_object(changed(changes))
    study = to_study(document, pools=(make_pool(),), model_fingerprint="m", workload_fingerprint="w", model_facts=None)
    assert (study.engine.args, study.model.name) == ({"block_size": text}, text)
    assert cells(study.space)[0].extra == (("swap", text),)
    assert parse_document(render_study(document), source="study.yaml") == document


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_key_is_quoted_where_it_is_complained_of(text: str) -> None:
    """No key of a map can write to a terminal, or take a message apart."""
    for path, word in (("spec.engine.args", "argument name"), ("spec.nodePools.0.nodeSelector", "key of a label")):
        message = problems(changed({path: {text: "1"}}))
        assert f"{path.replace('.0.', '[0].')}[{json.dumps(text)}]" in message
        assert word in message
    assert problems(changed({f"spec.engine.{text.replace('.', '')}": 1})).isprintable()


@given(st.text(max_size=200))
def test_any_text_anywhere_is_told_of_in_printable_words(text: str) -> None:
    """Problems go to terminals and into conditions."""
    for path in ("spec.engine.name", "spec.budget.maxTrials", "spec.nodePools.0.gpuResource", "kind"):
        wrong = f"{text}?"  # hypothesis draws words of our own as well, and one of them may be right
        assert problems(changed({path: wrong})).isprintable()


@pytest.mark.parametrize(
    "pattern", ["A100", "^NVIDIA-(A100|H100)-.*[48]0GB$", "(?i)a100", r"V100\b", "A.0{2}", "A100|V100|T4|L4"]
)
def test_a_usual_pattern_of_a_product_is_accepted(pattern: str) -> None:
    """The bound on patterns hinders nobody."""
    assert parse_object(changed({"spec.nodePools.0.gpuProduct": pattern}))


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*x", ".*.*.*.*.*x", "(a|a){64}", "A100(", "a{99999999999}", "\x07"])
def test_a_pattern_that_could_take_for_ever_is_refused(pattern: str) -> None:
    """One study cannot keep the operator from all others."""
    assert "spec.nodePools[0].gpuProduct" in problems(changed({"spec.nodePools.0.gpuProduct": pattern}))


def test_a_config_map_is_a_file_where_the_run_finds_it() -> None:
    """The runner reads files alone; a key of a ConfigMap is one in its Pod."""
    source = parse_object(changed(EXAMPLES["one-source"].valid)).spec.workload.source
    assert to_source(source, None) == FileSource(path=str(WORKLOAD_DIRECTORY / "prompts.jsonl"), field="prompt")


def test_two_studies_of_one_name_can_be_told_apart() -> None:
    """A study that is deleted and created again is another one."""
    about = {"pools": (make_pool(),), "model_fingerprint": "m", "workload_fingerprint": "w", "model_facts": None}
    document = parse_object(VALID)
    assert to_study(document, **about).key == "serving/study"
    assert to_study(document, **about, key="serving/study/uid").key == "serving/study/uid"


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_study_is_written_out_as_short_as_it_can_be_said(name: str) -> None:
    """What is published beside a result is the study, without what everybody has, and is a study again."""
    document = parse_object(changed(EXAMPLES[name].valid))
    text = render_study(document)
    assert parse_document(text, source="study.yaml") == document
    tree = yaml.safe_load(text)
    assert list(tree) == ["apiVersion", "kind", "metadata", "spec"]
    assert set(tree["metadata"]) == {"name", "namespace"}
    assert "budget" not in tree["spec"] or "spec.budget" in str(EXAMPLES[name].valid)
