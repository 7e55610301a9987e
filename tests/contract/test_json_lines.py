"""What a prompt is: the lines that every reader takes, and those that every reader refuses by number."""

import gzip
import json
import sys

import pytest

from infpop_runner.contract import PromptError, StrictJsonError, parse_json, parse_prompts

GOOD = b'{"prompt": "a"}\n'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (rb'{"prompt": "cut \ud83d"}', r"half of a character, \ud83d"),
        (rb'{"prompt": "\udc00\ud83d"}', r"half of a character, \udc00"),
        (b'{"prompt": "a", "m": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested more than 64 levels deep"),
        (b'{"prompt": "a", "m": ' + b'{"k": [' * 40 + b"]}" * 40 + b"}", "nested more than 64 levels deep"),
        (b"[" * 100_000, "nested more than 64 levels deep"),
        (b'{"prompt": "a", "id": ' + b"9" * 5000 + b"}", "an integer of 5000 digits"),
        (b'{"prompt": "a", "id": -' + b"9" * 640 + b"}", "an integer of 641 digits"),
        (b'{"prompt": NaN}', "has no text in the field 'prompt'"),
        (b'{"prompt": "a", "prompt": "b"}', 'has the key "prompt" twice'),
        (b'{"prompt": "a", "m": {"k": 1}, "prompt": "a"}', 'has the key "prompt" twice'),
        (b'\xef\xbb\xbf{"prompt": "a"}', "is not JSON (Unexpected UTF-8 BOM"),
        (b'{"prompt": "\xe9"}', "is not UTF-8 text (byte 0xe9 at position 13)"),
        (b'{"prompt": "\xed\xa0\xbd"}', "is not UTF-8 text"),
        ('{"prompt": "a"}'.encode("utf-16-le"), "is not JSON"),
        (b'{"prompt": "a\tb"}', "is not JSON (Invalid control character"),
        (b'{"prompt": "a"} {"prompt": "b"}', "is not JSON (Extra data"),
        (b"{'prompt': 'a'}", "is not JSON"),
        (b'{"prompt": ["a"]}', "has no text in the field 'prompt'"),
        (b"null", "is not a JSON object"),
    ],
)
def test_a_line_that_not_every_reader_takes_is_refused_by_its_number(line: bytes, words: str) -> None:
    """The third line is named, with what is wrong and a remedy, plain or compressed, as the first error of the file."""
    content = GOOD + b"\r\n" + line + b"\n" + b"not even JSON\n"
    for form in (content, gzip.compress(content)):
        with pytest.raises(PromptError) as refused:
            parse_prompts(form, field="prompt", limit=9)
        assert refused.value.message.startswith(f"line 3 {words}" if words.startswith(("is", "has")) else "line 3 ")
        assert words in refused.value.message
        assert refused.value.remedy


def test_good_lines_give_their_texts_in_order() -> None:
    """Marks of an encoding, other line ends, whole surrogate pairs and brackets in texts are no obstacle."""
    texts = ["\U0001f600", "[{" * 500, 'quotes " and \\ [', "\u2028", "a\nb"]
    lines = [json.dumps({"prompt": text, "n": 10**300}) for text in texts]
    content = b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode()
    assert parse_prompts(content, field="prompt", limit=9) == texts
    assert parse_prompts(content, field="prompt", limit=2) == texts[:2]


@pytest.mark.parametrize(
    "rest",
    [
        b'"score": NaN',  # pandas 2.3 and Python's json write these three
        b'"score": Infinity',
        b'"m": [-Infinity]',
        b'"id": 1, "id": 2',
        b'"m": {"k": 1, "k": 2}',
        b'"m": {"prompt": 1, "prompt": 2}',
    ],
)
def test_fields_that_are_not_used_refuse_no_line(rest: bytes) -> None:
    """Only the field with the prompt needs one value that every reader has."""
    assert parse_prompts(b'{"prompt": "a", ' + rest + b"}\n", field="prompt", limit=1) == ["a"]


def test_lines_after_the_last_prompt_are_not_read() -> None:
    """Only the prompts that are used have to be valid."""
    assert parse_prompts(GOOD + b"oops", field="prompt", limit=1) == ["a"]


def test_the_verdict_depends_neither_on_the_caller_nor_on_the_interpreter() -> None:
    """What one process accepts, another accepts too: at any depth of calls, and under any limit on digits."""
    accepted = "[" * 64 + "9" * 640 + "]" * 64

    def deep(calls: int) -> object:
        return parse_json(accepted) if calls == 0 else deep(calls - 1)

    digits, depth = sys.get_int_max_str_digits(), sys.getrecursionlimit()
    sys.set_int_max_str_digits(640)
    try:
        assert deep(0) == deep(depth // 2)
    finally:
        sys.set_int_max_str_digits(digits)
    with pytest.raises(StrictJsonError, match="64 levels"):
        parse_json("[" + accepted + "]")


def test_names_of_fields_are_shown_without_control_characters() -> None:
    """The keys of a line are a user's text: escape sequences and halves of characters in them reach no terminal."""
    with pytest.raises(PromptError) as refused:
        parse_prompts(rb'{"\u001b[31mred\n\ud83d": "a"}', field="prompt", limit=1)
    assert refused.value.about == "field"
    assert (str(refused.value) + refused.value.remedy).isprintable()
