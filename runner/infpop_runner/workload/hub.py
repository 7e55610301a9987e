"""Read prompts with the `datasets` library: from the Hugging Face hub, its cache, or a local directory.

The only module that imports `datasets`; it is loaded only if a workload needs it.
"""

from itertools import islice
from typing import Any

from datasets import load_dataset

from infpop_runner.contract import HuggingFaceSource, find_surrogate
from infpop_runner.workload.errors import WorkloadError


def read_texts(source: HuggingFaceSource, *, limit: int) -> list[str]:
    """Return the values of the source's field in the first `limit` rows, fewer if the split is smaller.

    Raises:
        WorkloadError: the dataset, its split or its field is not available, or a value is not a text.
    """
    where = f"dataset {source.dataset}, split {source.split}"
    rows = _load(source, where)
    if source.field not in rows.column_names:
        raise WorkloadError(f"{where}: no field {source.field!r}; its fields are {sorted(rows.column_names)}")
    texts = list(islice((row[source.field] for row in rows), limit))
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            raise WorkloadError(f"{where}, row {number}: field {source.field!r} is not a non-empty text")
        if half := find_surrogate(text):
            raise WorkloadError(f"{where}, row {number}: field {source.field!r} has half of a character, {half}")
    return texts


def _load(source: HuggingFaceSource, where: str) -> Any:  # noqa: ANN401 - datasets has no types
    try:
        return load_dataset(source.dataset, source.config, split=source.split, revision=source.revision)
    except Exception as error:  # the library raises a dozen unrelated types; each means that there are no prompts
        raise WorkloadError(f"{where}: {error}") from error
