"""The ConfigMaps that a study publishes: their content, and what a write changes of one that exists. Pure.

There are two. The one that `spec.publish` names has everything: files for a server that mounts it, and variables. Flux
takes each key of a ConfigMap as a variable and refuses the dot of a file's name, so the other one, `NAME-vars`, has the
variables alone.

The study does not own them: a Deployment that uses one must not break because a user deletes the study. Labels say
which study wrote it. An annotation holds what was written, so that the next write knows what another client changed
since, and which labels and annotations of the spec to remove; without it only these two are unknown.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from infpop_operator.adapters.kube.labels import CONTENT, MANAGED_BY, MANAGER, PUBLICATION, STUDY
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.render import render_study
from infpop_operator.api.serving_values import VARIABLES, render_values, serving_values, variables
from infpop_operator.api.spec_pool import VARIABLES_SUFFIX
from infpop_operator.api.status_model import Published
from infpop_operator.cluster.resolve import ResolvedStudy
from infpop_operator.core.fingerprint import digest

BEST = "best"
ARGS, ARGS_TEXT, BEST_JSON, STUDY_YAML, VALUES = "args", "args.txt", "best.json", "study.yaml", "values.yaml"
# Every key that the operator writes. Other keys of a ConfigMap are its users'.
_KEYS = (ARGS, ARGS_TEXT, BEST_JSON, STUDY_YAML, VALUES, *VARIABLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What an annotation says about the last write of the operator: of which publication, and what it wrote."""

    at: str
    content: str  # a hash of the values of all keys that the operator writes
    labels: tuple[str, ...] = ()  # keys that came from the spec
    annotations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a ConfigMap differs from what it should be.

    `patch` is None if a write would change nothing. `altered` are the keys that another client changed or removed since
    the operator's last write, `by` who was the last to change one of them, as far as the API server knows.
    """

    patch: Body | None
    altered: tuple[str, ...] = ()
    by: str = ""
    is_new_publication: bool = False


def build_config_maps(resolved: ResolvedStudy, name: str, published: Published) -> tuple[Body, Body]:
    """Return the ConfigMap with everything and the one with the variables, which is written last.

    Both have the labels and annotations that the study sets.
    """
    values = serving_values(resolved.document, published)
    flat = variables(values)
    files = {
        ARGS: json.dumps(published.engine_args),
        ARGS_TEXT: "".join(f"{argument}\n" for argument in published.engine_args),
        BEST_JSON: published.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n",
        STUDY_YAML: render_study(resolved.document),
        VALUES: render_values(values),
    }
    return (
        _config_map(resolved, name, published, {**files, **flat}),
        _config_map(resolved, f"{name}{VARIABLES_SUFFIX}", published, flat),
    )


def owner_of_config_map(config_map: Body) -> str | None:
    """Return the name of the study that published a ConfigMap, None if no study did."""
    labels = config_map["metadata"].get("labels") or {}
    is_published = labels.get(MANAGED_BY) == MANAGER and labels.get(CONTENT) == BEST
    return labels.get(STUDY) if is_published else None


def compare(existing: Body, wanted: Body, *, while_searching: bool) -> Difference:
    """Return what a write would change of a ConfigMap of the study.

    Args:
        existing: the ConfigMap as it is.
        wanted: as built by `build_config_maps`.
        while_searching: a search goes on. What follows from the spec alone is then left until it has a result, so that
            a ConfigMap changes once for each result. A publication that was recorded but not written is written.
    """
    note, goal = read_note(existing), read_note(wanted)
    if goal is None:
        raise ValueError("a ConfigMap to write has a note")
    data = existing.get("data") or {}
    is_altered = note is not None and digest({key: data[key] for key in _KEYS if key in data}) != note.content
    if note is not None and note.at == goal.at and while_searching and not is_altered:
        goal = replace(goal, at=note.at, content=note.content)
        changed = dict[str, str | None]()
    else:
        changed = {key: wanted["data"].get(key) for key in _KEYS if data.get(key) != wanted["data"].get(key)}
    metadata = _metadata_changes(existing["metadata"], wanted["metadata"], note, goal)
    if not changed and not metadata:
        return Difference(patch=None)
    keys = tuple(sorted(changed)) if is_altered else ()
    return Difference(
        patch={"metadata": {"resourceVersion": existing["metadata"]["resourceVersion"], **metadata}, "data": changed},
        altered=keys,
        by=_changed_by(existing["metadata"], keys),
        is_new_publication=_is_other_configuration(existing, wanted) if note is None else goal.at != note.at,
    )


def read_note(config_map: Body) -> Note | None:
    """Return what the operator noted at its last write, None if an earlier version wrote it or it is unreadable."""
    text = (config_map["metadata"].get("annotations") or {}).get(PUBLICATION)
    try:
        found = json.loads(text or "")
        keys = {part: tuple(str(key) for key in found.get(part, ())) for part in ("labels", "annotations")}
        return Note(at=str(found["at"]), content=str(found["content"]), **keys)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _config_map(resolved: ResolvedStudy, name: str, published: Published, data: Mapping[str, str]) -> Body:
    target = resolved.document.spec.publish
    labels, annotations = ({}, {}) if target is None else (target.labels, target.annotations)
    at, content = published.at.isoformat(), digest(dict(data))
    note = Note(at=at, content=content, labels=tuple(sorted(labels)), annotations=tuple(sorted(annotations)))
    own = {MANAGED_BY: MANAGER, STUDY: resolved.owner.name, CONTENT: BEST}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": resolved.owner.namespace,
            "labels": {**labels, **own},
            "annotations": {**annotations, PUBLICATION: json.dumps(asdict(note))},
        },
        "data": dict(data),
    }


def _metadata_changes(existing: Body, wanted: Body, note: Note | None, goal: Note) -> dict[str, Body]:
    """Return the labels and annotations to write, None for those that the spec set before and no longer sets."""
    earlier = {"labels": () if note is None else note.labels, "annotations": () if note is None else note.annotations}
    changes: dict[str, Body] = {}
    for part, keys in earlier.items():
        known, ours = existing.get(part) or {}, dict(wanted[part])
        if part == "annotations":
            ours[PUBLICATION] = json.dumps(asdict(goal))
        gone = dict.fromkeys(key for key in keys if key in known and key not in ours)
        found = {**gone, **{key: value for key, value in ours.items() if known.get(key) != value}}
        if found:
            changes[part] = found
    return changes


def _is_other_configuration(existing: Body, wanted: Body) -> bool:
    """Return whether a ConfigMap that an earlier version wrote has another configuration, not only another form."""
    return _configuration(existing) != _configuration(wanted)


def _configuration(config_map: Body) -> tuple[object, ...] | None:
    try:
        best = json.loads((config_map.get("data") or {})[BEST_JSON])
        return tuple(best.get(key) for key in ("pool", "gpuCount", "batchSize", "extra"))
    except (ValueError, LookupError, AttributeError, RecursionError):
        return None


def _changed_by(metadata: Body, keys: tuple[str, ...]) -> str:
    """Return who changed one of the keys last and when, as far as the API server knows; empty if it does not.

    A key that was removed has no owner any more: then the newest change by another client counts.
    """
    others = [each for each in metadata.get("managedFields") or () if each.get("manager") != MANAGER]
    owners = [each for each in others if any(f"f:{key}" in _data_fields(each) for key in keys)]
    newest = max(owners or (others if keys else ()), key=lambda each: str(each.get("time") or ""), default=None)
    return "" if newest is None else f"{newest.get('manager')} at {newest.get('time')}"


def _data_fields(entry: Body) -> Body:
    fields: Body = (entry.get("fieldsV1") or {}).get("f:data") or {}
    return fields
