"""What a config.json says: whether an engine serves the model, its heads, its positions."""

from typing import Any

import pytest

from infpop_runner.contract import KnownModels, ModelFacts, find_refusal, read_facts, read_positions, with_overrides

# Excerpts of vLLM 0.32 and transformers 5.19.
VLLM = KnownModels(
    engine="vLLM 0.32", architectures=frozenset({"LlamaForCausalLM", "Gemma3ForConditionalGeneration", "ChatGLMModel"})
)
PIPELINE = KnownModels(
    engine="transformers 5.19",
    architectures=frozenset({"LlamaForCausalLM", "Qwen3_5ForCausalLM", "BertLMHeadModel"}),
    model_types=frozenset({"llama", "qwen3_5", "bert"}),
)
UNKNOWN = KnownModels(engine="vLLM")
OWN = {"auto_map": {"AutoConfig": "a.B", "AutoModelForCausalLM": "a.C"}}


@pytest.mark.parametrize(
    ("config", "known"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, VLLM),
        ({"architectures": ["Gemma3ForConditionalGeneration"]}, VLLM),
        ({"architectures": ["ChatGLMModel"], **OWN}, VLLM),  # vLLM has its own code for it
        ({"architectures": ["NewForCausalLM", "LlamaForCausalLM"]}, VLLM),
        ({"architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5"}, PIPELINE),
        ({"model_type": "llama"}, PIPELINE),
        ({"architectures": ["BartForCausalLM"], "model_type": "bart", "is_encoder_decoder": True}, UNKNOWN),
        ({"architectures": ["Glm4vMoeForConditionalGeneration"]}, UNKNOWN),
        ({"architectures": ["InternVLChatModel"]}, UNKNOWN),
        ({"architectures": ["QWenLMHeadModel"]}, UNKNOWN),
        # A plugin may add models to vLLM 0.32, which has its own code for both of these.
        ({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", **OWN}, UNKNOWN),
        ({"architectures": ["ChatGLMModel"], **OWN}, UNKNOWN),
    ],
)
def test_a_model_that_the_engine_serves_is_accepted(config: dict[str, Any], known: KnownModels) -> None:
    """The engine's own list decides; without one, every name of a model that generates text passes."""
    assert find_refusal(config, known, trust_remote_code=False) is None


@pytest.mark.parametrize(
    ("config", "known", "words"),
    [
        ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, VLLM, "is a BertForMaskedLM, not a causal"),
        ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, PIPELINE, "not a causal language model"),
        ({"architectures": ["BertModel"]}, UNKNOWN, "is a BertModel, not a causal language model"),
        ({"architectures": ["ViTForImageClassification"]}, UNKNOWN, "not a causal language model"),
        ({"architectures": ["BartForConditionalGeneration"], "is_encoder_decoder": True}, UNKNOWN, "with an encoder"),
        ({"architectures": ["Gemma3ForConditionalGeneration"], "is_encoder_decoder": True}, VLLM, "with an encoder"),
        (
            {"architectures": ["XForConditionalGeneration"], "encoder_layers": 6, "decoder_layers": 6},
            UNKNOWN,
            "encoder",
        ),
        ({"architectures": ["Evil\x1b[31m\nForCausalLM"]}, VLLM, "is a Evil ForCausalLM, which"),
        ({"architectures": ["Qwen9ForCausalLM"]}, VLLM, "is a Qwen9ForCausalLM, which vLLM 0.32 does not know"),
        (
            {"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "m3"},
            PIPELINE,
            "transformers 5.19 does",
        ),
        ({}, VLLM, "names no architecture"),
        ({"architectures": []}, UNKNOWN, "names no architecture"),
        ({"architectures": "LlamaForCausalLM"}, VLLM, "names no architecture"),
        ({"architectures": [7]}, VLLM, "names no architecture"),
    ],
)
def test_a_model_that_the_engine_does_not_serve_is_refused(
    config: dict[str, Any], known: KnownModels, words: str
) -> None:
    """The message names the architecture, and whether another version of the engine could help."""
    refusal = find_refusal(config, known, trust_remote_code=True)
    assert refusal is not None
    assert words in refusal.message
    assert not refusal.needs_code


@pytest.mark.parametrize("known", [VLLM, PIPELINE])
def test_a_model_with_code_of_its_own_needs_the_study_to_allow_it(known: KnownModels) -> None:
    """Without that, the remedy is the argument; with it, the model is accepted."""
    config = {"architectures": ["CustomForCausalLM"], "model_type": "custom", **OWN}
    refusal = find_refusal(config, known, trust_remote_code=False)
    assert refusal is not None
    assert refusal.needs_code
    assert 'trust_remote_code: "true"' in refusal.remedy
    assert find_refusal(config, known, trust_remote_code=True) is None


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_attention_heads": 32, "num_key_value_heads": 8}, (32, 8)),
        ({"n_head": 12}, (12, None)),
        ({"text_config": {"num_attention_heads": 4}, "num_key_value_heads": 2}, (4, 2)),
        ({"num_attention_heads": 9, "text_config": {"num_attention_heads": 4}}, (4, None)),
        (
            {"thinker_config": {"text_config": {"num_attention_heads": 28, "num_key_value_heads": 4}}},
            (28, 4),
        ),  # Qwen2.5-Omni
        (
            {"llm_config": {"num_attention_heads": 16}, "vision_config": {"num_attention_heads": 25}},
            (16, None),
        ),  # InternVL
        ({"vision_config": {"num_attention_heads": 25}}, (None, None)),
        ({"num_attention_heads": "many", "num_key_value_heads": True}, (None, None)),
        ({"text_config": "none", "num_attention_heads": 0}, (None, None)),
    ],
)
def test_heads_are_those_of_the_text_model(config: dict[str, Any], expected: tuple[int | None, int | None]) -> None:
    """They rule out tensor-parallel sizes without a run; unknown values stay unknown."""
    assert read_facts(config) == ModelFacts(attention_heads=expected[0], key_value_heads=expected[1])


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 131072}, "max_position_embeddings": 512}, 131072),
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0}}, 131072),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "linear", "factor": 2}}, 8192),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        (
            {
                "max_position_embeddings": 8192,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0},
                    "sliding_attention": {"rope_type": "default"},
                },
            },
            65536,
        ),
        ({"max_position_embeddings": 4096, "rope_scaling": None}, 4096),
        ({"max_position_embeddings": 4096, "rope_scaling": {"factor": float("inf")}}, 2**31 - 1),
        ({"max_position_embeddings": 4096, "rope_scaling": {"factor": float("nan")}}, 4096),
        ({"max_position_embeddings": 10**400}, None),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": None}}, 4096),
        ({}, None),
    ],
)
def test_positions_are_never_fewer_than_an_engine_allows(config: dict[str, Any], positions: int | None) -> None:
    """Scaled positions count as scaled, so that no workload is refused which an engine would take."""
    assert read_positions(config) == positions


def test_overrides_replace_single_values_of_parts() -> None:
    """An override of vLLM changes what it names, and leaves the rest; text that is not an object changes nothing."""
    config = {"text_config": {"max_position_embeddings": 10, "num_attention_heads": 4}, "architectures": ["A"]}
    changes = {"text_config": {"max_position_embeddings": 20}, "architectures": ["B"]}
    changed = with_overrides(config, changes)
    assert changed == {"text_config": {"max_position_embeddings": 20, "num_attention_heads": 4}, "architectures": ["B"]}
    assert with_overrides(config, "none") == config
