"""Names of arguments and models, read from an engine's source text."""

from infpop_runner.contract import pipeline_arguments, pipeline_models, vllm_arguments, vllm_models
from infpop_runner.contract.engine_source import mapping_of

ARG_UTILS = '''
@dataclass
class EngineArgs:
    """Arguments."""
    model: str = ModelConfig.model
    block_size: int | None = get_field(CacheConfig, "block_size")
    _private: int = 0
    def create(self): local: int = 3
'''
LLM = "class LLM:\n    def __init__(self, model: str, *, chat_template: str | None = None, **kwargs): pass\n"
MODELING = """
class PreTrainedModel:
    @classmethod
    def from_pretrained(cls, name, *args, config=None, **kwargs):
        dtype = kwargs.pop("dtype", None)
        for name in ["mirror", "low_cpu_mem_usage"]:
            _ = kwargs.pop(name, None)
        if "attn_implementation" in kwargs:
            pass
"""
TABLES = """
PLAIN = {"AForCausalLM": ("a", "A"), "B": "b"}
TYPED: dict[str, str] = {**PLAIN, "C": ("c", "CForCausalLM")}
PAIRS = OrderedDict([("llama", "LlamaForCausalLM"), ("gemma3", ("Gemma3", "Gemma3ForCausalLM"))])
"""


def test_the_arguments_of_an_engine_are_found_without_an_import() -> None:
    """Fields of a dataclass, parameters, and what a function takes out of its keyword arguments."""
    assert vllm_arguments(arg_utils=ARG_UTILS, llm=LLM) == {"model", "block_size", "chat_template", "kwargs"} - {
        "kwargs"
    }
    found = pipeline_arguments(auto_factory="", modeling_utils=MODELING)
    assert found == {"name", "config", "dtype", "mirror", "low_cpu_mem_usage", "attn_implementation"}


def test_tables_of_models_are_read_in_their_various_forms() -> None:
    """A dict or a list of pairs gives its keys with the last text of each value."""
    assert mapping_of(TABLES, "PLAIN") == {"AForCausalLM": "A", "B": "b"}
    assert mapping_of(TABLES, "TYPED") == {"C": "CForCausalLM"}
    assert mapping_of(TABLES, "PAIRS") == {"llama": "LlamaForCausalLM", "gemma3": "Gemma3ForCausalLM"}


def test_the_models_of_an_engine_are_those_that_generate_text() -> None:
    """Embedding models of vLLM do not count, models that it runs through transformers do."""
    registry = (
        '_TEXT_GENERATION_MODELS = {"A": ("a", "A")}\n_MULTIMODAL_MODELS = {"B": ("b", "B")}\n'
        '_EMBEDDING_MODELS = {"E": 1}'
    )
    tables = (
        'MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict([("c", "CForCausalLM")])\n'
        'MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES = OrderedDict([("d", "D")])'
    )
    assert vllm_models(registry=registry, modeling_auto=tables) == {"A", "B", "CForCausalLM", "D"}
    assert vllm_models(registry="_EMBEDDING_MODELS = {'E': 1}", modeling_auto=tables) == frozenset()
    assert pipeline_models(tables) == {"c": "CForCausalLM"}


def test_a_source_of_another_form_gives_nothing() -> None:
    """Then nothing is refused: an unknown version decides itself."""
    for text in ("", "not python (", "EngineArgs = make()", "class EngineArgs: pass"):
        assert vllm_arguments(arg_utils=text, llm=LLM) == frozenset()
        assert pipeline_arguments(auto_factory=LLM, modeling_utils=text) == frozenset()
        assert mapping_of(text, "PLAIN") == {}
