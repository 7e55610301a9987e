"""The command `infpop schema`."""

import json
import sys

from infpop_operator.api.resource import API_VERSION
from infpop_operator.api.spec import ThroughputStudy
from infpop_operator.cli.exit_codes import ExitCode

# The only characters of the two classes; not every reader of JSON Schema knows classes.
_CLASSES = {r"\\p{Zl}": r"\\u2028", r"\\p{Zp}": r"\\u2029"}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def run() -> ExitCode:
    """Print the JSON Schema of a study file, for editors; rules that several fields share are not part of it."""
    schema = {"$schema": _DIALECT, "$id": f"infpop:{API_VERSION}", **ThroughputStudy.model_json_schema()}
    text = json.dumps(schema, indent=2)
    for name, character in _CLASSES.items():
        text = text.replace(name, character)
    sys.stdout.write(text + "\n")
    return ExitCode.FOUND
