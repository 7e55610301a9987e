"""How Argo CD and Flux assess a study: the project's own Lua and CEL, evaluated as these tools do.

Argo CD runs Lua 5.1 with `table` as the only library and the object as `obj`. Flux compares generations, then evaluates
`inProgress`, `failed` and `current` in this order with the object's top-level fields as variables; a missing field is
an error, which Flux reports as unknown and retries (fluxcd/pkg, runtime/cel).
"""

from pathlib import Path
from typing import Any

import celpy
import yaml
from lupa import lua51

DEPLOY = Path(__file__).parents[2] / "deploy"
_ALLOWED = {"_G", "_VERSION", "table", "ipairs", "pairs", "next", "type", "tostring", "tonumber", "select", "unpack"}
_FLUX_ORDER = {"inProgress": "InProgress", "failed": "Failed", "current": "Current"}


def argo_health(study: dict[str, Any], script: str) -> tuple[str, str]:
    """Return the status and the message that Argo CD shows for a study."""
    lua = lua51.LuaRuntime(register_eval=False, unpack_returned_tuples=True)
    names = lua.globals()
    for name in [name for name in names if name not in _ALLOWED]:
        names[name] = None
    names["obj"] = lua.table_from(study, recursive=True)
    health = lua.execute(script)
    return health["status"], health["message"]


def flux_status(study: dict[str, Any], expressions: dict[str, str]) -> str:
    """Return Flux's status of a study."""
    observed = study.get("status", {}).get("observedGeneration")
    if observed is not None and observed != study["metadata"]["generation"]:
        return "InProgress"
    for name, status in _FLUX_ORDER.items():
        holds = _evaluate(expressions[name], study)
        if holds is None:
            return "Unknown"
        if holds:
            return status
    return "InProgress"


def _evaluate(expression: str, study: dict[str, Any]) -> bool | None:
    """Return the value of a CEL expression, None if it fails."""
    if "status" in expression and "status" not in study:
        return None  # `has` of a missing variable is an error in Go's CEL, and not in this implementation
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    try:
        return bool(program.evaluate({name: celpy.json_to_cel(part) for name, part in study.items()}))
    except celpy.CELEvalError:
        return None


def health_script() -> str:
    """Return the script for Argo CD."""
    return (DEPLOY / "argocd" / "health.lua").read_text()


def flux_expressions() -> dict[str, str]:
    """Return the expressions for Flux."""
    documents = yaml.safe_load_all((DEPLOY / "flux" / "serving.yaml").read_text())
    (check,) = (check for each in documents for check in each.get("spec", {}).get("healthCheckExprs", ()))
    assert (check["apiVersion"], check["kind"]) == ("infpop.io/v1alpha1", "ThroughputStudy")
    return {name: check[name] for name in _FLUX_ORDER}
