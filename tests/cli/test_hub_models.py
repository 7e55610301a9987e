"""A model of the hub that cannot be loaded is found before the first load, and by asking the hub once.

The hub is a server on this machine with the real hub's answers, the command is a process of its own: the hub's library
reads its environment when it is imported.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.hub_server import ANSWERS, hub_server
from local.local_studies import study_document

pytest.importorskip("huggingface_hub")
pytest.importorskip("transformers")

NOWHERE = "http://127.0.0.1:1"
COMMIT = "0" * 40
TOKEN = "hf_" + "secret" * 5


def study(directory: Path, model: str, *, args: dict[str, str] | None = None, load_format: str = "auto") -> Path:
    """Write a study of a model with the transformers pipeline, and return its path."""
    path = directory / f"{model.replace('/', '-')}.yaml"
    engine = {"name": "hf-pipeline", "args": args or {}}
    space = {"gpuCount": [1], "batchSize": [1]}
    document = study_document(model={"name": model, "loadFormat": load_format}, engine=engine, searchSpace=space)
    path.write_text(yaml.safe_dump(document))
    return path


def problems(home: Path, *studies: Path, **environment: str) -> dict[str, str]:
    """Return what `infpop validate` says is wrong with each study, by its file's name without suffix."""
    inherited = {key: value for key, value in dict(os.environ).items() if not key.startswith("HF_")}  # noqa: TID251 - of a child
    proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    command = [sys.executable, "-m", "infpop_operator.cli.main", "validate", "--json", *map(str, studies)]
    done = subprocess.run(
        command,
        env={**inherited, **proxies, "HOME": str(home), "HF_HOME": str(home / "hf"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return {
        Path(each["file"]).stem: " ".join(
            f"{problem['field']}: {problem['value']}: {problem['message']}. {problem['remedy']}"
            for problem in each["problems"]
        )
        for each in found
    }


def cached(home: Path, model: str, *files: str, index: list[str] | None = None) -> None:
    """Put files of a model into the hub's cache under `home`, as a download does."""
    root = home / "hf" / "hub" / f"models--{model.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    for name in files:
        (snapshot / name).write_bytes(b"x")
    if index is not None:
        weights = {"weight_map": {str(place): name for place, name in enumerate(index)}}
        (snapshot / "model.safetensors.index.json").write_text(json.dumps(weights))


def test_a_refusal_by_the_hub_names_field_and_remedy(tmp_path: Path) -> None:
    """A gated, unknown or private model is refused with what to do, after one question; a busy hub refuses nothing."""
    with hub_server() as hub:
        said = problems(tmp_path, *(study(tmp_path, name) for name in ANSWERS), HF_ENDPOINT=hub.url)
        asked_once = all(hub.asked[name] == 1 for name in ANSWERS)
    page, gated = f"{hub.url}/org", "is gated, and you have given no token. Accept its licence at"
    expected = {
        "org-gated": f"model.name: org/gated: {gated} {page}/gated",
        "org-missing": f"org/missing: the hub has no such model, or it is private. Check the name at {page}/missing",
        "org-private": "model.name: org/private: the hub has no such model, or it is private",
        "org-token": "model.name: org/token: the hub does not accept your token. Set HF_TOKEN to a valid one",
        "org-scope": f"wants a token of all who read this model. Set HF_TOKEN to a token that may read {page}/scope",
        "org-branch": "model.revision: main: the hub's model has no such revision. Set model.revision to a branch",
        "org-adapter": "model.name: org/adapter: this hub repository has no config.json",
    }
    assert all(part in said[name] for name, part in expected.items()), said
    assert (said["org-busy"], said["org-down"]) == ("", "")
    assert asked_once


def test_a_token_without_access_is_told_apart_from_none(tmp_path: Path) -> None:
    """Who has a token must ask for access with its account, not set a token; the token itself is never shown."""
    with hub_server() as hub:
        studies = [study(tmp_path, name) for name in ("org/gated", "org/scope")]
        said = problems(tmp_path, *studies, HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN)
    assert "your token may not read this model. Give HF_TOKEN the right" in said["org-scope"]
    assert "is gated, and the account of your token has no access to it" in said["org-gated"]
    assert TOKEN not in said["org-gated"]


def test_what_is_secret_is_never_shown(tmp_path: Path) -> None:
    """Neither a token that no header can carry, nor the password of a mirror, is in the message that it causes."""
    with hub_server() as hub:
        mirror = hub.url.replace("//", f"//user:{TOKEN}@")
        said = problems(tmp_path, study(tmp_path, "org/x", args={"token": f"{TOKEN} "}), HF_ENDPOINT=hub.url)
        said |= problems(tmp_path, study(tmp_path, "org/missing"), HF_ENDPOINT=mirror)
    said |= problems(tmp_path, study(tmp_path, "org/none"), HF_ENDPOINT=NOWHERE.replace("//", f"//user:{TOKEN}@"))
    assert "Illegal header value b'Bearer ...)" in said["org-x"]
    assert f"Check the name at {hub.url}/org/missing" in said["org-missing"]
    assert f"the hub at {NOWHERE} cannot be reached" in said["org-none"]
    assert TOKEN not in "".join(said.values())


def test_the_command_that_fills_the_cache_works_as_it_stands(tmp_path: Path) -> None:
    """It overrides offline mode, and names the revision that the study names."""
    path = study(tmp_path, "org/none")
    document = yaml.safe_load(path.read_text())
    document["spec"]["model"]["revision"] = "v1"
    path.write_text(yaml.safe_dump(document))
    said = problems(tmp_path, path, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE=0 hf download org/none --revision v1" in said["org-none"]


def test_a_slow_hub_has_the_time_that_the_engine_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_ETAG_TIMEOUT holds for this question, too: what an engine would load is not refused for being slow."""
    hub = importlib.import_module("infpop_operator.adapters.hub")
    waited: list[float] = []

    def answer(_url: str, *, token: str | None, timeout: float) -> None:
        waited.append(timeout)
        raise hub.OfflineModeIsEnabled(token)

    monkeypatch.setattr(hub, "get_hf_file_metadata", answer)
    monkeypatch.setattr(hub.constants, "HF_HUB_ETAG_TIMEOUT", 47)
    with pytest.raises(hub.HubRefusal):
        hub.find_config("org/never-cached", None, needs_weights=True)
    assert waited == [47]


@pytest.mark.parametrize(
    ("environment", "why", "remedy"),
    [
        ({"HF_ENDPOINT": NOWHERE}, f"the hub at {NOWHERE} cannot be reached ([Errno 111]", "Check the network"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, and the cache", "Unset it, or fill"),
        ({"TRANSFORMERS_OFFLINE": "1"}, "TRANSFORMERS_OFFLINE is set, and the cache", "or fill the cache first"),
    ],
)
def test_without_a_hub_the_cache_decides(tmp_path: Path, environment: dict[str, str], why: str, remedy: str) -> None:
    """A model that the cache has works offline; one that it has not, or not all of, is refused before a load."""
    cached(tmp_path, "org/whole", "model.safetensors")
    cached(tmp_path, "org/shards", "a.safetensors", "b.safetensors", index=["a.safetensors", "b.safetensors"])
    cached(tmp_path, "org/half", "a.safetensors", index=["a.safetensors", "b.safetensors"])
    cached(tmp_path, "org/config")
    cached(tmp_path, "org/dummy")
    names = ("org/whole", "org/shards", "org/half", "org/config", "org/none")
    studies = [study(tmp_path, name) for name in names]
    studies.append(study(tmp_path, "org/dummy", load_format="dummy"))
    studies.append(study(tmp_path, "org/elsewhere", args={"cache_dir": "/mnt/models"}))
    said = problems(tmp_path, *studies, **environment)
    works = {name for name, problem in said.items() if not problem}
    assert works == {"org-whole", "org-shards", "org-dummy", "org-elsewhere"}, said
    assert all(why in said[name] and remedy in said[name] for name in ("org-half", "org-config", "org-none")), said
    assert "does not have all of its weights" in said["org-half"]
    assert "does not have it" in said["org-none"]


def test_a_model_of_another_hub_is_not_looked_for(tmp_path: Path) -> None:
    """What vLLM loads from ModelScope is no model of this hub."""
    document = yaml.safe_load(study(tmp_path, "org/missing").read_text())
    document["spec"]["engine"] = {"name": "vllm"}
    (tmp_path / "scope.yaml").write_text(yaml.safe_dump(document))
    said = problems(tmp_path, tmp_path / "scope.yaml", HF_ENDPOINT=NOWHERE, VLLM_USE_MODELSCOPE="True")
    assert "org/missing" not in said["scope"]
