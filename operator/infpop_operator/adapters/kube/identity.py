"""Which run a Job or a Pod belongs to, and what has been altered of it since its creation.

Labels and owner references can be changed by anyone who may edit the object, and by admission policies. The run spec
in the environment of the runner's container cannot: Kubernetes refuses a change. So it decides which run an object
belongs to, and labels decide only where it is missing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infpop_operator.adapters.kube import labels
from infpop_runner.contract.strict_json import StrictJsonError, parse_json

Body = Mapping[str, Any]
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")  # of an object of the API server


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The study and the run that an object was created for; None where the object does not say.

    `expected` are the labels that the operator gave to the object, empty if it has no run spec.
    """

    study: str | None = None
    study_uid: str | None = None
    run: str | None = None
    pool: str | None = None
    gpu_count: int = 0
    expected: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alteration:
    """What another client changed of an object: a label that had `value`, or its owner where `label` is None."""

    label: str | None
    value: str
    text: str


def identify_job(body: Body) -> Identity:
    """Return the identity of a Job. One with the run spec of another name or namespace is a copy, and has no run."""
    metadata = body["metadata"]
    template = _part(_part(body, "spec"), "template")
    spec = _read_spec(_part(template, "spec"))
    if _is_elsewhere(metadata, spec):
        return Identity()
    if spec is None:
        return _by_labels(metadata, _uid_in(metadata) or controller_of(metadata))
    if spec["run"] != metadata["name"]:
        return Identity()
    return _by_spec(spec, _uid_in(_part(template, "metadata")) or _uid_in(metadata) or controller_of(metadata))


def identify_pod(body: Body) -> Identity:
    """Return the identity of a Pod. One that no Job controller created is a copy unless its labels say otherwise.

    `kubectl debug --copy-to` makes such a copy, which has the environment, but neither labels nor a generated name.
    """
    metadata = body["metadata"]
    spec = _read_spec(_part(body, "spec"))
    if _is_elsewhere(metadata, spec):
        return Identity()
    if spec is None:
        return _by_labels(metadata, _uid_in(metadata))
    run = spec["run"]
    is_generated = metadata.get("generateName") == f"{run}-"
    if not is_generated and _part(metadata, "labels").get(labels.RUN) != run:
        return Identity()
    return _by_spec(spec, _uid_in(metadata))


def altered_labels(metadata: Body, identity: Identity) -> tuple[Alteration, ...]:
    """Return the labels that differ from what the operator wrote, with who changed them and when."""
    known = _part(metadata, "labels")
    return tuple(
        Alteration(label=name, value=value, text=_text(metadata, name, value, known.get(name)))
        for name, value in identity.expected
        if known.get(name) != value
    )


def altered_owner(metadata: Body, identity: Identity) -> tuple[Alteration, ...]:
    """Return one alteration if the study is no longer the controlling owner of a Job that was created for it."""
    if not identity.expected or identity.study_uid is None or controller_of(metadata) == identity.study_uid:
        return ()
    text = f"the owner reference to study {identity.study} was removed{_by(metadata, 'f:ownerReferences', None)}"
    return (Alteration(label=None, value=identity.study_uid, text=text),)


def _text(metadata: Body, name: str, value: str, now: str | None) -> str:
    if now is None:
        return f"label {name} ({value}) was removed{_by(metadata, 'f:labels', None)}"
    return f"label {name} is {now} instead of {value}{_by(metadata, 'f:labels', name)}"


def controller_of(metadata: Body) -> str | None:
    """Return the uid of the controlling owner of an object, None if it has none."""
    owners = metadata.get("ownerReferences") or ()
    return next((owner.get("uid") for owner in owners if owner.get("controller")), None)


def _by(metadata: Body, part: str, name: str | None) -> str:
    """Return who changed a part of the metadata and when, as far as the API server knows; empty if it does not.

    The owner of a field is known while the field exists. Of a removed one, only the newest change by another client is.
    """
    entries = [
        each
        for each in metadata.get("managedFields") or ()
        if each.get("manager") != labels.MANAGER and not each.get("subresource")
    ]
    if name is not None:
        entries = [each for each in entries if f"f:{name}" in _part(_part(_fields(each), "f:metadata"), part)]
    newest = max(entries, key=lambda each: str(each.get("time") or ""), default=None)
    if newest is None:
        return ""
    return f" ({'changed' if name else 'last changed'} by {newest.get('manager')} at {newest.get('time')})"


def _fields(entry: Body) -> Body:
    return entry.get("fieldsV1") or {}


def _by_spec(spec: Body, study_uid: str | None) -> Identity:
    study, run, pool = spec["study"], spec["run"], str(spec.get("pool"))
    gpu_count = spec.get("gpu_count")
    expected = labels.run_labels(
        study=study, run=run, pool=pool, gpu_count=str(gpu_count), round_number=str(spec.get("round"))
    )
    return Identity(
        study=study,
        study_uid=study_uid,
        run=run,
        pool=pool,
        gpu_count=gpu_count if isinstance(gpu_count, int) else 0,
        expected=tuple(expected.items()),
    )


def _by_labels(metadata: Body, study_uid: str | None) -> Identity:
    known = _part(metadata, "labels")
    count = str(known.get(labels.GPU_COUNT, ""))
    return Identity(
        study=known.get(labels.STUDY),
        study_uid=study_uid,
        run=known.get(labels.RUN),
        pool=known.get(labels.POOL),
        gpu_count=int(count) if count.isdecimal() else 0,
    )


def _read_spec(pod_spec: Body) -> Body | None:
    """Return the run spec of a Pod as JSON, None if there is none that can be read."""
    for container in pod_spec.get("containers") or ():
        if container.get("name") == labels.RUNNER_CONTAINER:
            values = (each.get("value") for each in container.get("env") or () if each.get("name") == labels.RUN_SPEC)
            return _parse(next(values, None))
    return None


def _parse(text: str | None) -> Body | None:
    """Return a run spec that names its study and its run. Anyone who may create a Pod may write anything into it."""
    try:
        spec = parse_json((text or "").replace("$$", "$"))
    except StrictJsonError:
        return None
    return spec if isinstance(spec, dict) and _is_name(spec.get("study")) and _is_name(spec.get("run")) else None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_elsewhere(metadata: Body, spec: Body | None) -> bool:
    """Return whether an object was created for a study of another namespace: it is a copy.

    The annotation, which anyone may change, decides only where the run spec has no namespace.
    """
    written = str(_part(metadata, "annotations").get(labels.STUDY_KEY, ""))
    home = (None if spec is None else spec.get("namespace")) or written.partition("/")[0]
    return bool(home) and home != metadata["namespace"]


def _uid_in(metadata: Body) -> str | None:
    """Return the study's uid in the annotation `namespace/name/uid`."""
    key = str(_part(metadata, "annotations").get(labels.STUDY_KEY, ""))
    return key.rpartition("/")[2] or None


def _part(body: Body, key: str) -> Body:
    return body.get(key) or {}
