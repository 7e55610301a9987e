"""Rules for what a study publishes that the schema cannot express; each problem names field, value and remedy."""

from collections.abc import Iterator

from infpop_operator.api.resource import GROUP
from infpop_operator.api.spec import StudySpec
from infpop_operator.core.errors import Problem
from infpop_operator.core.object_names import LONGEST_SUBDOMAIN, has_long_prefix

# By these the operator recognises the ConfigMaps that it wrote.
OWN_PREFIX, OWN_KEY = f"{GROUP}/", "app.kubernetes.io/managed-by"


def publish_rules(spec: StudySpec) -> Iterator[Problem]:
    """Return the problems of `spec.publish`."""
    if spec.publish is None:
        return
    for part, keys in (("labels", spec.publish.labels), ("annotations", spec.publish.annotations)):
        for key in keys:
            yield from _key(f"spec.publish.{part}", key)


def _key(field: str, key: str) -> Iterator[Problem]:
    if key.startswith(OWN_PREFIX) or key == OWN_KEY:
        message = "is a key by which the operator recognises its ConfigMaps"
        yield Problem(field=field, value=key, message=message, remedy="Use a key of another domain")
    if has_long_prefix(key):
        message = f"has more than {LONGEST_SUBDOMAIN} characters before its slash"
        yield Problem(field=field, value=key, message=message, remedy="Use a shorter domain")
