"""The value types of a study's fields, and the base class of all its parts.

Every string, list and map has an upper bound: the API server rejects validation rules on values of unbounded length.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
OBJECT_PATTERN = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
ARGUMENT_PATTERN = r"^[a-z][a-z0-9_]*$"
LABEL_KEY_PATTERN = r"^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
IMAGE_PATTERN = r"^[!-~]*$"
DATA_KEY_PATTERN = r"^[-._a-zA-Z0-9]*[-_a-zA-Z0-9]$"
PRODUCT_PATTERN = r"^[ -~]+$"
METRIC_PATTERN = r"^[a-z][a-zA-Z0-9]*$"

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=NAME_PATTERN)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=OBJECT_PATTERN)]
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=DATA_KEY_PATTERN)]
ProductPattern = Annotated[str, Field(min_length=1, max_length=128, pattern=PRODUCT_PATTERN)]
MetricName = Annotated[str, Field(min_length=1, max_length=32, pattern=METRIC_PATTERN)]
Text = Annotated[str, Field(min_length=1, max_length=512)]
Label = Annotated[str, Field(min_length=1, max_length=128)]  # the limit of the contract
LabelKey = Annotated[str, Field(min_length=1, max_length=317, pattern=LABEL_KEY_PATTERN)]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE_PATTERN)]
Image = Annotated[str, Field(max_length=512, pattern=IMAGE_PATTERN)]
ArgumentName = Annotated[str, Field(min_length=1, max_length=64, pattern=ARGUMENT_PATTERN)]
ArgumentValue = Annotated[str, Field(max_length=512)]


class ApiModel(BaseModel):
    """Base of the API models: camelCase keys, unknown keys are errors, no implicit type conversion, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True, populate_by_name=True)
