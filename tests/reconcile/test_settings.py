"""The operator's settings: read once from the environment, refused where they are impossible."""

import pytest

from infpop_operator.core.errors import SettingError
from infpop_operator.settings import Settings, settings_from


def test_an_empty_environment_gives_the_defaults() -> None:
    """Nothing has to be set, and an empty variable is as good as none."""
    assert settings_from({}, namespace=None) == Settings()
    empty = dict.fromkeys(("INFPOP_RUNNER_IMAGE", "INFPOP_NODE_SELECTOR", "INFPOP_TICK_SECONDS"), "")
    assert settings_from(empty, namespace=None) == Settings()


def test_the_environment_sets_everything() -> None:
    """Each variable reaches its own setting."""
    environment = {
        "INFPOP_RUNNER_IMAGE": "example.org/runner:1",
        "INFPOP_NODE_SELECTOR": "gpu=true",
        "INFPOP_TICK_SECONDS": "1.5",
        "INFPOP_RESYNC_SECONDS": "20",
        "INFPOP_STOP_SECONDS": "3",
        "INFPOP_STATUS_PAUSE_SECONDS": "0.5",
    }
    assert settings_from(environment, namespace="serving") == Settings(
        runner_image="example.org/runner:1",
        namespace="serving",
        node_selector="gpu=true",
        tick_seconds=1.5,
        resync_seconds=20.0,
        status_pause_seconds=0.5,
        stop_seconds=3.0,
    )


def test_the_environment_may_name_the_namespace() -> None:
    """The command line comes first."""
    environment = {"INFPOP_NAMESPACE": "team-a"}
    assert settings_from(environment, namespace=None).namespace == "team-a"
    assert settings_from(environment, namespace="team-b").namespace == "team-b"


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize("variable", [f"INFPOP_{name}_SECONDS" for name in ("TICK", "RESYNC", "STOP", "STATUS_PAUSE")])
def test_a_time_that_is_none_is_refused(variable: str, text: str) -> None:
    """The complaint names the variable, its value and what to write instead."""
    with pytest.raises(SettingError, match=rf"^{variable}='{text}': is no time\. Give seconds above 0"):
        settings_from({variable: text}, namespace=None)
