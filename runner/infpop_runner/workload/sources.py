"""Load the prompts of a workload's source, and hash them."""

import hashlib
import json
from collections.abc import Sequence
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import assert_never

from infpop_runner.contract import (
    BuiltinSource,
    FileSource,
    HuggingFaceSource,
    PromptError,
    SyntheticSource,
    WorkloadSource,
    WorkloadSpec,
    parse_prompts,
)
from infpop_runner.measure import Prompts, SyntheticPrompts, TextPrompts
from infpop_runner.workload.errors import WorkloadError


def load_prompts(workload: WorkloadSpec, *, seed: int) -> Prompts:
    """Return the first `samples` prompts of the workload in order, with a hash of exactly these prompts.

    Raises:
        WorkloadError: the source cannot be read, or has fewer prompts than requested.
    """
    if isinstance(workload.source, SyntheticSource):
        return _synthetic(workload.source, workload.samples, seed)
    texts = _texts(workload.source, workload.samples)
    if len(texts) < workload.samples:
        raise WorkloadError(
            f"workload.samples is {workload.samples}, but {_name(workload.source)} has {len(texts)} prompts: "
            f"ask for at most {len(texts)}"
        )
    return TextPrompts(texts=tuple(texts), workload_hash=hash_texts(texts))


def hash_texts(texts: Sequence[str]) -> str:
    """Return the SHA-256 of the texts in order, as 64 hexadecimal digits; boundaries between texts count."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def _texts(source: BuiltinSource | FileSource | HuggingFaceSource, limit: int) -> list[str]:
    match source:
        case BuiltinSource():
            content = files("infpop_runner.workload").joinpath("data", f"{source.name}.jsonl.gz").read_bytes()
            return parse_prompts(content, field="prompt", limit=limit)
        case FileSource():
            return _read_file(source, limit)
        case HuggingFaceSource():
            read: list[str] = import_module("infpop_runner.workload.hub").read_texts(source, limit=limit)
            return read
        case _:
            assert_never(source)


def _read_file(source: FileSource, limit: int) -> list[str]:
    try:
        return parse_prompts(Path(source.path).read_bytes(), field=source.field, limit=limit)
    except OSError as error:
        raise WorkloadError(f"workload file {source.path}: {error.strerror or error}") from error
    except PromptError as error:
        raise WorkloadError(f"workload file {source.path}: {error.message}. {error.remedy}") from error


def _name(source: WorkloadSource) -> str:
    match source:
        case BuiltinSource():
            return f"the builtin set {source.name}"
        case FileSource():
            return f"the file {source.path}"
        case HuggingFaceSource():
            return f"the dataset {source.dataset}, split {source.split},"
        case SyntheticSource():
            return "the synthetic source"
        case _:
            assert_never(source)


def _synthetic(source: SyntheticSource, samples: int, seed: int) -> SyntheticPrompts:
    """Return synthetic prompts with a hash of their recipe: the ids themselves depend on the model's vocabulary."""
    recipe = json.dumps(["synthetic-v1", samples, source.prompt_tokens, seed])
    return SyntheticPrompts(
        samples=samples, prompt_tokens=source.prompt_tokens, seed=seed, workload_hash=hash_texts([recipe])
    )
