"""The part of a study that defines its workload: source and number of prompts, and new tokens per prompt."""

from typing import Literal

from pydantic import Field

from infpop_operator.api.fields import ApiModel, DataKey, Label, ObjectName, Text


class FileSource(ApiModel):
    """A JSONL or JSONL.gz file."""

    path: Text = Field(description="JSONL or JSONL.gz file; on a cluster a path inside the runner's image")
    field: Label = Field(default="prompt", description="key of each line that holds the prompt")


class ConfigMapSource(ApiModel):
    """A key of a ConfigMap whose value is JSON lines."""

    name: ObjectName = Field(description="name of the ConfigMap, in the study's namespace")
    key: DataKey = Field(default="prompts.jsonl", description="key in the ConfigMap; its value is JSON lines")
    field: Label = Field(default="prompt", description="key of each line that holds the prompt")


class HuggingFaceSource(ApiModel):
    """A dataset of the Hugging Face Hub; a preset sets all fields but the revision."""

    preset: Literal["humaneval-infilling-single-line"] | None = Field(
        default=None, description="a known dataset; sets all fields but the revision"
    )
    dataset: Text | None = Field(default=None, description="Hub id of the dataset")
    config: Label | None = Field(default=None, description="configuration of the dataset")
    split: Label = Field(default="test", description="split of the dataset")
    field: Label = Field(default="prompt", description="column that holds the prompt")
    revision: Label | None = Field(default=None, description="branch, tag or commit of the dataset")


class SyntheticSource(ApiModel):
    """Seeded random token ids of one exact length."""

    prompt_tokens: int = Field(ge=1, le=1_000_000, description="length of each prompt in tokens")


class Source(ApiModel):
    """Where prompts come from: exactly one key."""

    builtin: Literal["code-infilling-v1"] | None = Field(
        default=None, description="a prompt set that ships with the runner"
    )
    file: FileSource | None = Field(default=None, description="a JSONL or JSONL.gz file")
    config_map: ConfigMapSource | None = Field(
        default=None, description="a key of a ConfigMap whose value is JSON lines; cluster only"
    )
    hugging_face: HuggingFaceSource | None = Field(default=None, description="a dataset of the Hugging Face Hub")
    synthetic: SyntheticSource | None = Field(default=None, description="seeded random token ids of one exact length")


class Workload(ApiModel):
    """The prompts and the exact number of new tokens for each."""

    source: Source = Field(
        default=Source(builtin="code-infilling-v1"), description="where prompts come from: exactly one key"
    )
    samples: int = Field(
        default=1033, ge=1, le=100_000, description="number of distinct prompts, taken from the start of the source"
    )
    max_new_tokens: int = Field(
        default=128, ge=1, le=131_072, description="exact number of tokens that every sequence generates"
    )
