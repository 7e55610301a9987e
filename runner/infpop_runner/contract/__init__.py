"""The contract between the operator, which decides, and the runner, which measures.

`RunSpec` goes in, `RunResult` comes out, both as JSON. This is the only part of the runner that the operator imports,
so it holds only values and their validation: no I/O, no clock, no engine. Rules that both apply are here, too: what a
prompt is, which engine arguments a study may set, and what a model's config.json says.

Compatibility: new fields have a default, and no field is ever renamed or removed. Readers of results ignore unknown
keys, so an older operator reads a newer runner's result and vice versa (golden files in `tests/contract/golden`).
"""

from infpop_runner.contract.arguments import (
    PIPELINE_HUB_ARGUMENTS,
    Scalar,
    decode_argument,
    is_structured,
)
from infpop_runner.contract.engine_source import (
    TRANSFORMERS_TABLES,
    VLLM_TABLES,
    pipeline_arguments,
    pipeline_models,
    vllm_arguments,
    vllm_models,
)
from infpop_runner.contract.json_lines import PromptError, parse_prompts
from infpop_runner.contract.message import MESSAGE_LIMIT_BYTES, SHORTENED_NAME, decode_result, encode_message
from infpop_runner.contract.model_config import (
    KnownModels,
    ModelRefusal,
    find_refusal,
    read_facts,
    read_positions,
    with_overrides,
)
from infpop_runner.contract.pinned import (
    PINNED_ARGUMENTS,
    PLACEMENT_PATTERN,
    SAME_DEVICES,
    is_placement,
    pinned_message,
    pinned_name,
    unknown_argument_remedy,
)
from infpop_runner.contract.result import (
    Broken,
    BrokenReason,
    Infeasible,
    InfeasibleReason,
    Invalid,
    InvalidReason,
    Measured,
    ModelFacts,
    Provenance,
    Retry,
    RunResult,
    TrialResult,
)
from infpop_runner.contract.spec import (
    LONGEST_REPEAT_SECONDS,
    LONGEST_SCRAPE_GRACE_SECONDS,
    MOST_ENGINE_ARGUMENTS,
    BuiltinSource,
    EngineSpec,
    FileSource,
    FormulaLandscape,
    HuggingFaceSource,
    MeasurementSpec,
    ModelSpec,
    RecordedLandscape,
    RunSpec,
    SimulationSpec,
    SyntheticSource,
    TrialSpec,
    WorkloadSource,
    WorkloadSpec,
)
from infpop_runner.contract.strict_json import StrictJsonError, find_surrogate, parse_json
from infpop_runner.contract.text import one_line

__all__ = [
    "LONGEST_REPEAT_SECONDS",
    "LONGEST_SCRAPE_GRACE_SECONDS",
    "MESSAGE_LIMIT_BYTES",
    "MOST_ENGINE_ARGUMENTS",
    "PINNED_ARGUMENTS",
    "PIPELINE_HUB_ARGUMENTS",
    "PLACEMENT_PATTERN",
    "SAME_DEVICES",
    "SHORTENED_NAME",
    "TRANSFORMERS_TABLES",
    "VLLM_TABLES",
    "Broken",
    "BrokenReason",
    "BuiltinSource",
    "EngineSpec",
    "FileSource",
    "FormulaLandscape",
    "HuggingFaceSource",
    "Infeasible",
    "InfeasibleReason",
    "Invalid",
    "InvalidReason",
    "KnownModels",
    "Measured",
    "MeasurementSpec",
    "ModelFacts",
    "ModelRefusal",
    "ModelSpec",
    "PromptError",
    "Provenance",
    "RecordedLandscape",
    "Retry",
    "RunResult",
    "RunSpec",
    "Scalar",
    "SimulationSpec",
    "StrictJsonError",
    "SyntheticSource",
    "TrialResult",
    "TrialSpec",
    "WorkloadSource",
    "WorkloadSpec",
    "decode_argument",
    "decode_result",
    "encode_message",
    "find_refusal",
    "find_surrogate",
    "is_placement",
    "is_structured",
    "one_line",
    "parse_json",
    "parse_prompts",
    "pinned_message",
    "pinned_name",
    "pipeline_arguments",
    "pipeline_models",
    "read_facts",
    "read_positions",
    "unknown_argument_remedy",
    "vllm_arguments",
    "vllm_models",
    "with_overrides",
]
