"""Write a small Llama model with random weights and a tokenizer: a real model for real engines, without a download.

    python -m infpop_runner.engines.tiny_model DIRECTORY

It writes the same bytes each time (with the same library versions). Its outputs are meaningless, and its speed says
nothing about any other model.
"""

import argparse
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 20_240_801
VOCABULARY = 1024
BOS, EOS = "<s>", "</s>"

# Training text of the tokenizer: code-like words, so that code is not split into single bytes.
TEXT = '''
from __future__ import annotations
import argparse, collections, dataclasses, functools, itertools, json, logging, os, pathlib, random, re, sys, typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One point of the search space, with its measured throughput in tokens per second and the reason of a failure."""
    name: str
    value: float | None = None
    children: tuple[int, ...] = ()
    def __init__(self, name: str, value: float | None = None, *args: object, **kwargs: object) -> None:
        super().__init__()
        self.name = name
        self.value = value
    @property
    def is_valid(self) -> bool:
        return self.value is not None and self.value >= 0 and not self.name.startswith("_")
    @classmethod
    def from_json(cls, text: str, encoding: str = "utf-8") -> Configuration:
        """Return the object that the text holds; raise ValueError if it is not what was expected."""
        try:
            record = json.loads(text.strip())
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}: expected an object, got {type(record).__name__!r}") from error
        finally:
            logger.info("read %d characters", len(text))
        return cls(**{key: value for key, value in record.items() if isinstance(key, str)})
def partition(numbers: list[int], pivot: int = 0) -> tuple[list[int], list[int]]:
    """Given a list of integers, return those smaller than the pivot and the others, in their order.
    >>> partition([3, 1, 4, 1, 5, 9, 2, 6], 4)
    ([3, 1, 1, 2], [4, 5, 9, 6])
    """
    smaller, larger = [], []
    for index, number in enumerate(sorted(numbers, reverse=True)):
        if number < pivot:
            smaller.append(number)
        elif number == pivot or index % 2 == 1:
            larger.append(number)
        else:
            continue
    while len(smaller) > 0:
        total = sum(smaller) / len(smaller)
        maximum, minimum = max(smaller), min(smaller)
        if abs(maximum - minimum) <= 1e-6:
            break
    return smaller, larger
def read_lines(path: pathlib.Path, limit: int = 100) -> Iterator[str]:
    with path.open("r", encoding="utf-8", newline="") as file:
        yield from itertools.islice((line.rstrip() for line in file if line and line[0] != "#"), limit)
async def wait_until(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    deadline = clock() + timeout_seconds
    while clock() < deadline and not condition():
        await sleep(0.01)
    assert condition(), "nothing happened before the deadline"
    return True
def is_palindrome(string: str) -> bool:
    result = "".join(character.lower() for character in string if character.isalpha())
    return result == result[::-1]
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure something and print the answer.")
    parser.add_argument("--output", default="-", help="where the results go", type=str)
    options = parser.parse_args(arguments)
    print(options.output, file=sys.stderr)
    matrix = [[0 for column in range(10)] for row in range(10)]
    words = {word: count for word, count in collections.Counter("one two three two".split(" ")).most_common(3)}
    return 0 if all(matrix) or any(words.values()) else 1
if __name__ == "__main__":
    raise SystemExit(main())
'''


def write_tiny_model(directory: Path) -> None:
    """Write model and tokenizer to `directory`; do nothing if it already holds a model.

    A caller that must never see an unfinished model lets it write to another directory, which it renames afterwards.

    Raises:
        OSError: the directory cannot be written.
    """
    if (directory / "config.json").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    _tokenizer().save_pretrained(directory)
    _model().save_pretrained(directory)
    for file in directory.iterdir():
        file.chmod(0o644)


def _model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return LlamaForCausalLM(config).to(torch.bfloat16)


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0), (EOS, 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, model_max_length=4096)


def main() -> int:
    """Write the model to the directory given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m infpop_runner.engines.tiny_model", description=__doc__)
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory
    write_tiny_model(directory)
    sys.stdout.write(f"{directory}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
