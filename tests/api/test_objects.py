"""An API object becomes a study or an explained refusal; hostile text stays data; a study can be written out."""

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
    """Return the whole message for an invalid object."""
    with pytest.raises(StudyError) as caught:
        parse_object(document)
    return str(caught.value)


def test_an_object_is_read_with_all_that_the_api_server_adds() -> None:
    """Status, managed fields and labels are ignored."""
    added = {"uid": "u", "managedFields": [{"manager": "kubectl"}], "annotations": {"a": "b"}, "generation": 3}
    body = {**VALID, "metadata": {**VALID["metadata"], **added}, "status": {"novelty": 1}}
    assert parse_object(body) == parse_object(VALID)


def test_a_field_of_a_newer_version_is_refused_with_what_to_do() -> None:
    """It may change the meaning of other fields; the operator neither guesses nor crashes."""
    message = problems(changed({"spec.later": {"policy": "Never"}}))
    assert "spec.later: unknown field." in message
    assert message.endswith("If the field belongs to a newer version, upgrade the operator.")


@pytest.mark.parametrize("body", [{}, {"spec": None}, {"metadata": [], "spec": "x"}, {**VALID, "spec": {"model": 1}}])
def test_an_object_without_a_study_in_it_is_explained(body: dict[str, Any]) -> None:
    """An object that an older CRD let through does not crash the operator."""
    assert problems(body)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("path", NAMES)
def test_hostile_text_is_not_a_name(path: str, text: str) -> None:
    """Names, labels and numbers consist of harmless characters, and refusals quote hostile text safely."""
    message = problems(changed({path: text}))
    assert path.replace(".0.", "[0].") in message
    assert message.isprintable()


@pytest.mark.parametrize(
    "text", ["a {0.__class__}", *(t for t in HOSTILE if t.isprintable() and not t.startswith("{"))]
)
def test_hostile_text_as_a_value_is_kept_as_it_is(text: str) -> None:
    """Arguments reach the engine as data: never as a format, an expression or a shell command."""
    extra = [{"name": "swap", "values": [text]}]
    changes = {"spec.engine.args": {"block_size": text}, "spec.searchSpace.extra": extra, "spec.model.name": text}
    document = parse_object(changed(changes))
    study = to_study(document, pools=(make_pool(),), model_fingerprint="m", workload_fingerprint="w", model_facts=None)
    assert (study.engine.args, study.model.name) == ({"block_size": text}, text)
    assert cells(study.space)[0].extra == (("swap", text),)
    assert parse_document(render_study(document), source="study.yaml") == document


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_key_is_quoted_where_it_is_complained_of(text: str) -> None:
    """No map key can write to a terminal or break the format of a message."""
    for path, word in (("spec.engine.args", "argument name"), ("spec.nodePools.0.nodeSelector", "key of a label")):
        message = problems(changed({path: {text: "1"}}))
        assert f"{path.replace('.0.', '[0].')}[{json.dumps(text)}]" in message
        assert word in message
    assert problems(changed({f"spec.engine.{text.replace('.', '')}": 1})).isprintable()


@given(st.text(max_size=200))
def test_any_text_anywhere_is_reported_in_printable_words(text: str) -> None:
    """Problems are shown in terminals and conditions."""
    for path in ("spec.engine.name", "spec.budget.maxTrials", "spec.nodePools.0.gpuResource", "kind"):
        wrong = f"{text}?"  # hypothesis also draws InfPop's own words, and one of them may be valid
        assert problems(changed({path: wrong})).isprintable()


@pytest.mark.parametrize(
    "pattern", ["A100", "^NVIDIA-(A100|H100)-.*[48]0GB$", "(?i)a100", r"V100\b", "A.0{2}", "A100|V100|T4|L4"]
)
def test_a_usual_pattern_of_a_product_is_accepted(pattern: str) -> None:
    """The bound on patterns does not exclude ordinary product patterns."""
    assert parse_object(changed({"spec.nodePools.0.gpuProduct": pattern}))


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*x", ".*.*.*.*.*x", "(a|a){64}", "A100(", "a{99999999999}", "\x07"])
def test_a_pattern_that_could_take_forever_is_refused(pattern: str) -> None:
    """One study cannot block the operator for all others."""
    assert "spec.nodePools[0].gpuProduct" in problems(changed({"spec.nodePools.0.gpuProduct": pattern}))


def test_a_config_map_is_a_file_where_the_run_finds_it() -> None:
    """The runner reads only files; a ConfigMap key is a file in its Pod."""
    source = parse_object(changed(EXAMPLES["one-source"].valid)).spec.workload.source
    assert to_source(source, None) == FileSource(path=str(WORKLOAD_DIRECTORY / "prompts.jsonl"), field="prompt")


def test_two_studies_of_one_name_can_be_distinguished() -> None:
    """A study that is deleted and created again is a different study."""
    about = {"pools": (make_pool(),), "model_fingerprint": "m", "workload_fingerprint": "w", "model_facts": None}
    document = parse_object(VALID)
    assert to_study(document, **about).key == "serving/study"
    assert to_study(document, **about, key="serving/study/uid").key == "serving/study/uid"


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_study_is_written_in_its_shortest_form(name: str) -> None:
    """The study published with a result omits defaults, and is itself a valid study."""
    document = parse_object(changed(EXAMPLES[name].valid))
    text = render_study(document)
    assert parse_document(text, source="study.yaml") == document
    tree = yaml.safe_load(text)
    assert list(tree) == ["apiVersion", "kind", "metadata", "spec"]
    assert set(tree["metadata"]) == {"name", "namespace"}
    assert "budget" not in tree["spec"] or "spec.budget" in str(EXAMPLES[name].valid)
