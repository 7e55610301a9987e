"""The value types of a study's fields, and the base class of all its parts.

Every string, list and map has an upper bound: the API server rejects validation rules on values of unbounded length.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from infpop_operator.core.object_names import (
    DATA_KEY_PATTERN,
    IMAGE_PATTERN,
    LABEL_KEY_PATTERN,
    LABEL_VALUE_PATTERN,
    LONGEST_LABEL,
    LONGEST_LABEL_KEY,
    LONGEST_SUBDOMAIN,
    NAME_PATTERN,
    OBJECT_PATTERN,
)

ARGUMENT_PATTERN = r"^[a-z][a-z0-9_]*$"
# Text on one line: a line break would end an argument in a script, and an escape sequence would reach a terminal.
LINE_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\p{Zl}\p{Zp}]*$"
# The same, but JSON may have line breaks between its parts; they become spaces.
ARGUMENT_VALUE_PATTERN = (
    r"^([ \t\r\n]*[{\[][^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\p{Zl}\p{Zp}]*|[^\x00-\x1f\x7f-\x9f\p{Zl}\p{Zp}]*)$"
)
PRODUCT_PATTERN = r"^[ -~]+$"
METRIC_PATTERN = r"^[a-z][a-zA-Z0-9]*$"

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL, pattern=NAME_PATTERN)]
ObjectName = Annotated[str, Field(min_length=1, max_length=LONGEST_SUBDOMAIN, pattern=OBJECT_PATTERN)]
# The name of an object that a Job names in a label.
LabelledName = Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL, pattern=OBJECT_PATTERN)]
DataKey = Annotated[str, Field(min_length=1, max_length=LONGEST_SUBDOMAIN, pattern=DATA_KEY_PATTERN)]
ProductPattern = Annotated[str, Field(min_length=1, max_length=128, pattern=PRODUCT_PATTERN)]
MetricName = Annotated[str, Field(min_length=1, max_length=32, pattern=METRIC_PATTERN)]
Text = Annotated[str, Field(min_length=1, max_length=512, pattern=LINE_PATTERN)]
Label = Annotated[str, Field(min_length=1, max_length=128, pattern=LINE_PATTERN)]  # the limit of the contract
LabelKey = Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL_KEY, pattern=LABEL_KEY_PATTERN)]
LabelValue = Annotated[str, Field(max_length=LONGEST_LABEL, pattern=LABEL_VALUE_PATTERN)]
Image = Annotated[str, Field(max_length=512, pattern=IMAGE_PATTERN)]
ArgumentName = Annotated[str, Field(min_length=1, max_length=64, pattern=ARGUMENT_PATTERN)]
ArgumentValue = Annotated[str, Field(max_length=512, pattern=ARGUMENT_VALUE_PATTERN)]


class ApiModel(BaseModel):
    """Base of the API models: camelCase keys, unknown keys are errors, no implicit type conversion, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True, populate_by_name=True)
