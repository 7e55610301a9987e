"""Write what a study publishes to its ConfigMaps, put right what others change there, and say what came of it.

The operator never changes a ConfigMap of that name that another study, another program or a user wrote.
"""

from dataclasses import dataclass, replace

from infpop_operator.adapters.kube.client import KubeClient
from infpop_operator.adapters.kube.errors import (
    KubeForbiddenError,
    KubeNotFoundError,
    KubeQuotaError,
    KubeRefusedError,
)
from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.clip import clip
from infpop_operator.api.conditions import MESSAGE_BYTES
from infpop_operator.api.status_context import ConditionState
from infpop_operator.api.status_model import Published, StudyStatus
from infpop_operator.cluster.events import StudyEvent
from infpop_operator.cluster.published_maps import (
    ARGS_TEXT,
    build_config_maps,
    compare,
    owner_of_config_map,
    read_note,
)
from infpop_operator.cluster.resolve import ResolvedStudy

PUBLISHED, RESTORED, REFUSED = "Published", "PublishRestored", "PublishRefused"
_TOO_LARGE = "Too long: "  # of the data of a ConfigMap, in the API server's words


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of publishing: the state of the condition Published, and the Events about it."""

    state: ConditionState
    events: tuple[StudyEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What came of one ConfigMap: why it was not written, and what was put right."""

    name: str
    refusal: str | None = None
    restored: str | None = None
    is_new_publication: bool = False
    is_of_earlier_version: bool = False


async def publish(
    client: KubeClient,
    resolved: ResolvedStudy,
    published: Published,
    *,
    previous: StudyStatus | None,
    while_searching: bool,
) -> Outcome | None:
    """Bring the ConfigMaps that the study names to what it publishes; None if it names none.

    Args:
        client: the client of the API server.
        resolved: the study.
        published: what it publishes.
        previous: the last status: what its condition Published says already is not said in an Event again.
        while_searching: a search of the study goes on, so only what others changed is put right.

    Raises:
        KubeError: the API server gave no answer, or another client writes to the ConfigMap at the same time.
    """
    target = resolved.document.spec.publish
    if target is None:
        return None
    conditions = () if previous is None else previous.conditions
    before = next((each for each in conditions if each.type == PUBLISHED), None)
    done = ConditionState(
        holds=True, reason=PUBLISHED, message=f"the best configuration is in ConfigMap {target.config_map}"
    )
    if any("\n" in argument or "\r" in argument for argument in published.engine_args):
        message = f"an engine argument has a line break, which {ARGS_TEXT} cannot hold; write it on one line"
        written = [_Written(name=target.config_map, refusal=message)]
    else:
        existed = before is not None and (before.status, before.message) == ("True", done.message)
        written = await _write_all(client, resolved, published, existed=existed, while_searching=while_searching)
    refusals = [each.refusal for each in written if each.refusal is not None]
    refusal = clip("; ".join(refusals), MESSAGE_BYTES)  # as the status has it: a policy's words may have many lines
    state = ConditionState(holds=False, reason=REFUSED, message=refusal) if refusals else done
    is_said = before is not None and (before.reason, before.message) == (REFUSED, state.message)
    refused = () if not refusals or is_said else (StudyEvent(type="Warning", reason=REFUSED, message=state.message),)
    return Outcome(state=state, events=(*_events(written, published), *refused))


async def _write_all(
    client: KubeClient, resolved: ResolvedStudy, published: Published, *, existed: bool, while_searching: bool
) -> list[_Written]:
    target = resolved.document.spec.publish
    name = "" if target is None else target.config_map
    written: list[_Written] = []
    for wanted in build_config_maps(resolved, name, published):
        done = await _write(client, resolved, wanted, existed=existed, while_searching=while_searching)
        if any(each.is_of_earlier_version for each in written):  # it wrote only the first; no user deleted the second
            done = replace(done, restored=None, is_new_publication=False)
        written.append(done)
    return written


async def _write(
    client: KubeClient, resolved: ResolvedStudy, wanted: Body, *, existed: bool, while_searching: bool
) -> _Written:
    """Create, change or restore one ConfigMap. `existed`: the study has said that it is written."""
    name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
    try:
        try:
            existing = await client.get_config_map(namespace, name)
        except KubeNotFoundError:
            await client.create_config_map(wanted)
            restored = f"ConfigMap {name} was deleted" if existed else None
            return _Written(name=name, restored=restored, is_new_publication=not existed)
        return await _update(client, resolved, existing, wanted, while_searching=while_searching)
    except KubeRefusedError as error:
        return _Written(name=name, refusal=_refused(namespace, name, error))


async def _update(
    client: KubeClient, resolved: ResolvedStudy, existing: Body, wanted: Body, *, while_searching: bool
) -> _Written:
    name, owner = wanted["metadata"]["name"], owner_of_config_map(existing)
    if owner != resolved.owner.name:
        return _Written(name=name, refusal=_not_ours(name, owner))
    difference = compare(existing, wanted, while_searching=while_searching)
    is_of_earlier_version = read_note(existing) is None
    if difference.patch is None:
        return _Written(name=name, is_of_earlier_version=is_of_earlier_version)
    if existing.get("immutable"):
        remedy = "delete it, and the operator writes it again"
        return _Written(name=name, refusal=f"ConfigMap {name} is immutable, and its content is out of date: {remedy}")
    await client.patch_config_map(wanted["metadata"]["namespace"], name, difference.patch)
    keys, by = ", ".join(difference.altered), f" by {difference.by}" if difference.by else ""
    return _Written(
        name=name,
        restored=f"ConfigMap {name} was changed{by} ({keys})" if difference.altered else None,
        is_new_publication=difference.is_new_publication,
        is_of_earlier_version=is_of_earlier_version,
    )


def _refused(namespace: str, name: str, error: KubeRefusedError) -> str:
    """Return why the API server refuses a ConfigMap, what its reader can do about it, and the server's own words."""
    match error:
        case KubeForbiddenError():
            why = f"the operator may not write ConfigMap {name} in namespace {namespace}"
            remedy = "give its account get, create and patch of configmaps there, as the chart does"
        case KubeQuotaError():
            why = f"a quota of namespace {namespace} has no room for ConfigMap {name}"
            remedy = "raise the quota or delete a ConfigMap"
        case _ if _TOO_LARGE in str(error):
            why = f"ConfigMap {name} would be larger than 1 MiB"
            remedy = "remove the keys of others from it, or name another in spec.publish.configMap"
        case _:
            why = f"the API server refuses ConfigMap {name}"
            remedy = "correct what it names, or name another in spec.publish.configMap"
    return f"{why}; {remedy}. It answered: {error}"


def _not_ours(name: str, owner: str | None) -> str:
    if owner is None:
        return f"ConfigMap {name} exists, but this study did not write it; delete it or name another"
    return (
        f"ConfigMap {name} belongs to study {owner}, which publishes to it; name another in spec.publish.configMap, or "
        f"delete the ConfigMap if study {owner} no longer publishes there"
    )


def published_event(config_map: str, published: Published) -> StudyEvent:
    """Return the Event of a new publication."""
    return StudyEvent(type="Normal", reason=PUBLISHED, message=f"ConfigMap {config_map}: {published.message}")


def _events(written: list[_Written], published: Published) -> tuple[StudyEvent, ...]:
    """Return an Event for a new publication, and one for what was put right."""
    events: list[StudyEvent] = []
    names = [each.name for each in written if each.refusal is None]
    if names and any(each.is_new_publication for each in written):
        events.append(published_event(names[0], published))
    restored = [each.restored for each in written if each.restored is not None]
    if restored:
        message = f"{'; '.join(restored)}: restored to what the study publishes"
        events.append(StudyEvent(type="Warning", reason=RESTORED, message=message))
    return tuple(events)
