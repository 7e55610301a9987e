"""Engine arguments of a study: which values and names are accepted, and what the others are told."""

import json

import pytest

from api.documents import changed
from infpop_operator.api.convert import to_study
from infpop_operator.api.parse import parse_object
from infpop_operator.core.errors import StudyError


def refusal(args: dict[str, object]) -> str:
    """Return what the user is told about these arguments."""
    with pytest.raises(StudyError) as refused:
        parse_object(changed({"spec.engine.args": args}))
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"method": "ngram"}', '{"method": "ngram"}'),
        ('{\n  "method": "ngram",\r\n\t"n": 3\n}\n', '{   "method": "ngram",   "n": 3 }'),
        ("\n[1, 2]", "[1, 2]"),
        ("{{ template }}", "{{ template }}"),
        ("fp8", "fp8"),
        ("16", 16),
    ],
)
def test_a_value_reaches_the_run_on_one_line(text: str, value: object) -> None:
    """JSON over several lines becomes one line with the same meaning, so that a script can hold it."""
    study = to_study(
        parse_object(changed({"spec.engine.args": {"x": text}})),
        pools=(),
        model_fingerprint="",
        workload_fingerprint="",
        model_facts=None,
    )
    assert study.engine.args == {"x": value}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a\nb", "has a line break or another control character. Write it on one line"),
        ("a\rb", "has a line break"),
        ("a\x1b[31m", "control character"),
        ("a\u2028b", "control character"),
        ("{{ a }}\n{{ b }}", "has a line break. Write it on one line"),
        ("{'method': 'ngram'}", "is not JSON (Expecting property name enclosed in double quotes at character 2)"),
        ('{"a": 1, "a": 2}', 'has the key "a" twice'),
        ({"mode": 3}, "must be text. Write it as JSON in quotes: '{\"mode\": 3}'"),
        ([1, 2], "must be text. Write it as JSON in quotes: '[1, 2]'"),
        ("no", '"no": is a text, not a boolean. Write "true" or "false"'),
        ("ON", "is a text, not a boolean"),
        (16, 'must be text. Put it in quotes: "16"'),
        (True, 'must be text. Put it in quotes: "true"'),
        (None, "must be text"),
    ],
)
def test_a_value_that_cannot_be_passed_is_refused_with_a_remedy(value: object, words: str) -> None:
    """One line names the argument, its value and how to write it."""
    told = refusal({"compilation_config": value})
    assert told.startswith("spec.engine.args.compilation_config:")
    assert words in told
    assert told.isprintable()


@pytest.mark.parametrize(
    "name", ["pipeline_parallel_size", "data_parallel_size", "num_gpus", "device_map", "max_memory"]
)
def test_what_changes_the_devices_is_refused_with_the_field_that_sets_them(name: str) -> None:
    """Two workers are never counted as one GPU, neither fixed nor as a dimension of the search."""
    told = refusal({name: "2"})
    assert "changes how many GPUs a run uses" in told
    assert "set spec.searchSpace.gpuCount" in told
    with pytest.raises(StudyError, match="changes how many GPUs a run uses"):
        parse_object(changed({"spec.searchSpace.extra": [{"name": name, "values": ["1", "2"]}]}))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("--enable-chunked-prefill", "Write enable_chunked_prefill,"),
        ("maxModelLen", "Remove it: max_model_len is set by InfPop"),
        ("swapSpace", "Write swap_space,"),
        ("-pp", "Remove it: pp changes how many GPUs"),
        ("KV-cache-dtype", "Write kv_cache_dtype,"),
        ("max model len", "Use the engine's Python name"),
    ],
)
def test_a_name_in_another_spelling_is_refused_with_the_right_one(name: str, remedy: str) -> None:
    """A flag of the command line, or a name in the style of the other fields."""
    assert f"is not an argument name. {remedy}" in refusal({name: "2"})


def test_a_searched_value_that_is_not_json_is_named_by_its_place() -> None:
    """The values of a dimension follow the same rules as fixed arguments."""
    extra = [{"name": "compilation_config", "values": [json.dumps({"mode": 3}), "{mode: 2}"]}]
    with pytest.raises(StudyError, match=r"spec\.searchSpace\.extra\[0\]\.values\[1\]: .* is not JSON"):
        parse_object(changed({"spec.searchSpace.extra": extra}))


@pytest.mark.parametrize("field", ["spec.model.name", "spec.model.revision"])
def test_a_name_that_would_break_a_script_is_refused(field: str) -> None:
    """A model's name and revision are arguments of the serving command."""
    with pytest.raises(StudyError, match="has a line break or another control character"):
        parse_object(changed({field: "a\nb"}))
