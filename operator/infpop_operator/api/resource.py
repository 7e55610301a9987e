"""The group, version, kind and names of the ThroughputStudy resource, defined in one place.

The charts, the examples and the documentation repeat them as text; tests compare that text with these values.
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
RETUNE_ANNOTATION = f"{GROUP}/retune"  # each new value of it requests a new round
