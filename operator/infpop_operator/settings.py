"""How the operator is set up: read once from the command line and the environment, then passed around."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from infpop_operator.core.errors import SettingError

RUNNER_IMAGE_VARIABLE = "INFPOP_RUNNER_IMAGE"
NAMESPACE_VARIABLE = "INFPOP_NAMESPACE"
NODE_SELECTOR_VARIABLE = "INFPOP_NODE_SELECTOR"
TICK_VARIABLE = "INFPOP_TICK_SECONDS"
RESYNC_VARIABLE = "INFPOP_RESYNC_SECONDS"
STOP_VARIABLE = "INFPOP_STOP_SECONDS"
STATUS_PAUSE_VARIABLE = "INFPOP_STATUS_PAUSE_SECONDS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of the operator.

    Attributes:
        runner_image: the image of pools and engines that name none; None: a study has to name one.
        namespace: the only namespace that is looked at; None: all of them.
        node_selector: labels of the nodes that are looked at; None: all nodes, so that pools without a GPU work too.
        workers: studies looked at at the same time. A look takes milliseconds; the API server is what is spared.
        tick_seconds: how often unfinished studies are looked at although nothing happened: time-outs, phases and
            reasons are at most this old.
        resync_seconds: how often everything is listed anew, to repair what a watch lost.
        status_pause_seconds: a change of a run's phase alone is written at most this often.
        stop_seconds: how long the end of a stopped run is waited for, with the pod's own 30 s of grace inside.
    """

    runner_image: str | None = None
    namespace: str | None = None
    node_selector: str | None = None
    workers: int = 8
    tick_seconds: float = 15.0
    resync_seconds: float = 300.0
    status_pause_seconds: float = 5.0
    stop_seconds: float = 120.0


def settings_from(environment: Mapping[str, str], *, namespace: str | None) -> Settings:
    """Return the settings that the environment names; an empty variable is as good as none.

    Args:
        environment: of the process.
        namespace: what the command line says, which comes before the environment.

    Raises:
        SettingError: a variable that has to be a time is none.
    """
    usual = Settings()
    return Settings(
        runner_image=environment.get(RUNNER_IMAGE_VARIABLE) or None,
        node_selector=environment.get(NODE_SELECTOR_VARIABLE) or None,
        namespace=namespace or environment.get(NAMESPACE_VARIABLE) or None,
        tick_seconds=_seconds(environment, TICK_VARIABLE, usual.tick_seconds),
        resync_seconds=_seconds(environment, RESYNC_VARIABLE, usual.resync_seconds),
        status_pause_seconds=_seconds(environment, STATUS_PAUSE_VARIABLE, usual.status_pause_seconds),
        stop_seconds=_seconds(environment, STOP_VARIABLE, usual.stop_seconds),
    )


def check_watched(settings: Settings, watched: Collection[str]) -> None:
    """Check that a framework that was set up by itself watches what the settings say: else we would act on the rest.

    Args:
        settings: of the operator.
        watched: the namespaces that the framework watches, empty for all of them.

    Raises:
        SettingError: they differ.
    """
    if set(watched) == ({settings.namespace} - {None}):
        return
    told = f"--namespace {', '.join(sorted(watched))}" if watched else "no --namespace"
    remedy = f"Set both to one namespace, or neither for all of them: {NAMESPACE_VARIABLE} is what InfPop acts on."
    raise SettingError(f"kopf was given {told} and {NAMESPACE_VARIABLE} is {settings.namespace or 'unset'}. {remedy}")


def _seconds(environment: Mapping[str, str], variable: str, default: float) -> float:
    text = environment.get(variable)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise SettingError(f"{variable}={text!r}: is no time. Give seconds above 0, for example {default:g}.")
    return number
