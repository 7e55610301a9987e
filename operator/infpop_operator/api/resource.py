"""The resource that users write: its group, version, kind and names, each said once.

The charts, the examples and the documentation repeat them as text; tests compare those with the values here.
"""

from typing import Literal, get_args

ApiVersion = Literal["infpop.io/v1alpha1"]
Kind = Literal["ThroughputStudy"]

API_VERSION: ApiVersion = get_args(ApiVersion)[0]
GROUP, VERSION = API_VERSION.split("/")
KIND: Kind = get_args(Kind)[0]
PLURAL, SINGULAR, SHORT_NAME = "throughputstudies", "throughputstudy", "tstudy"
NAME = f"{PLURAL}.{GROUP}"  # of the CustomResourceDefinition, and the resource in `kubectl auth can-i`
API_PATH = f"apis/{API_VERSION}"  # below the URL of the API server
