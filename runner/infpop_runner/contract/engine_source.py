"""Find out from an engine's source text which arguments and models it takes, without importing it.

An import of an engine takes many seconds, so a check on the user's machine reads the text instead; the runner uses the
same functions where an engine has no list of its own. An answer is empty if the source has another form than expected:
nothing is refused then, and the engine decides.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache

VLLM_TABLES = (
    "_TEXT_GENERATION_MODELS",
    "_MULTIMODAL_MODELS",
    "_TRANSFORMERS_SUPPORTED_MODELS",
    "_TRANSFORMERS_BACKEND_MODELS",
)
TRANSFORMERS_TABLES = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
)
_CALLS = {"pop", "get", "setdefault"}


def class_fields(source: str, name: str) -> frozenset[str]:
    """Return the annotated public fields of the class `name`, as of a dataclass."""
    found = _definition(_parsed(source), name)
    body = found.body if isinstance(found, ast.ClassDef) else []
    names = (node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name))
    return frozenset(each for each in names if not each.startswith("_"))


def keyword_names(source: str, name: str, *, within: str | None = None) -> frozenset[str]:
    """Return the public keyword arguments of a function: its parameters, and what it takes out of its `**kwargs`.

    Args:
        source: the text of a module, or of the function alone.
        name: the function.
        within: the class that has it, None for a function of the module.
    """
    tree: ast.AST = _parsed(source)
    if within is not None:
        tree = _definition(tree, within) or ast.Module(body=[], type_ignores=[])
    found = _definition(tree, name)
    if not isinstance(found, ast.FunctionDef):
        return frozenset()
    parameters = {argument.arg for argument in (*found.args.args, *found.args.kwonlyargs)}
    return frozenset(
        each for each in parameters | set(_taken(found)) if not each.startswith("_") and each not in {"self", "cls"}
    )


def vllm_arguments(*, arg_utils: str, llm: str) -> frozenset[str]:
    """Return the arguments of vLLM's `LLM`, from the texts of two of its modules; empty if they are not found."""
    fields = class_fields(arg_utils, "EngineArgs")
    return fields | keyword_names(llm, "__init__", within="LLM") if fields else fields


def pipeline_arguments(*, auto_factory: str, modeling_utils: str) -> frozenset[str]:
    """Return the arguments with which transformers loads a model, from the texts of two modules; empty if not found."""
    own = keyword_names(modeling_utils, "from_pretrained", within="PreTrainedModel")
    return own | keyword_names(auto_factory, "from_pretrained", within="_BaseAutoModelClass") if own else own


def vllm_models(*, registry: str, modeling_auto: str) -> frozenset[str]:
    """Return the architectures that vLLM generates text with, from the texts of its registry and of the tables.

    It also runs what transformers alone implements, whose tables these are. Empty if the registry has another form.
    """
    own = [mapping_of(registry, name) for name in VLLM_TABLES]
    if not any(own):
        return frozenset()
    others = [frozenset(mapping_of(modeling_auto, name).values()) for name in TRANSFORMERS_TABLES]
    return frozenset().union(*(table.keys() for table in own), *others)


def pipeline_models(modeling_auto: str) -> Mapping[str, str]:
    """Return the causal language models of transformers: from the type of a model to its architecture."""
    return mapping_of(modeling_auto, TRANSFORMERS_TABLES[0])


def mapping_of(source: str, name: str) -> Mapping[str, str]:
    """Return the keys of the module's table `name`, each with the last text of its value; a dict or a list of pairs."""
    for node in _parsed(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                return dict(_pairs(value))
            case ast.AnnAssign(target=ast.Name(id=found), value=value) if found == name:
                return dict(_pairs(value))
    return {}


@lru_cache(maxsize=4)
def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module(body=[], type_ignores=[])


def _definition(tree: ast.AST, name: str) -> ast.AST | None:
    kinds = (ast.ClassDef, ast.FunctionDef)
    return next((node for node in ast.walk(tree) if isinstance(node, kinds) and node.name == name), None)


def _taken(function: ast.FunctionDef) -> Iterator[str]:
    """Yield the constant names in `kwargs.pop("name")`, `"name" in kwargs` and `for name in ["name", ...]`."""
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="kwargs"), attr=attr), args=[first, *_]) if (
                attr in _CALLS
            ):
                yield from _texts(first)
            case ast.Compare(left=left, ops=[ast.In()], comparators=[ast.Name(id="kwargs")]):
                yield from _texts(left)
            case ast.For(iter=ast.List(elts=items) | ast.Tuple(elts=items)):
                for item in items:
                    yield from _texts(item)


def _pairs(value: ast.AST | None) -> Iterator[tuple[str, str]]:
    match value:
        case ast.Dict(keys=keys, values=values):
            for key, content in zip(keys, values, strict=True):
                for text in _texts(key):
                    yield text, (list(_texts(content)) or [""])[-1]
        case ast.Call(args=[ast.List(elts=items)]):
            for item in items:
                texts = list(_texts(item))
                if texts:
                    yield texts[0], texts[-1]


def _texts(node: ast.AST | None) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Tuple(elts=items) | ast.List(elts=items):
            for item in items:
                yield from _texts(item)
