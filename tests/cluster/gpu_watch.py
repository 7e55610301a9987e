"""Count the GPUs that the pods of each study hold, at each version of each pod."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx

from cluster.place import Body, Place
from controlplane.admin import open_client

GRACE_SECONDS = 20.0  # from the lowering of a limit to the end of the pods above it


class GpuWatch:
    """Watches the pods of a place inside a `with` block, whatever their labels; the run spec names the study.

    A pod holds its GPUs from when it is bound to a node until it has ended or is gone.
    """

    def __init__(self, place: Place) -> None:
        self._client = open_client(place.cluster.kubeconfig)
        self._path = f"/api/v1/namespaces/{place.namespace}/pods"
        self._held: dict[str, tuple[str, int]] = {}  # by uid of the pod: study and GPUs
        self._names: dict[str, str] = {}
        self._most: Counter[str] = Counter()
        self._limits: dict[str, list[tuple[float, int]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="gpu-watch", daemon=True)
        self.violations: list[str] = []
        self.note: Callable[[], str] = str  # what was done last, for the violations

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join(5)
        self._client.close()

    def limit(self, study: str, gpus: int) -> None:
        """Note that a study may hold so many GPUs from now on; a lowered limit holds after a while."""
        self._limits.setdefault(study, []).append((time.monotonic(), gpus))

    def now(self, study: str) -> int:
        """Return the GPUs that the study holds now."""
        return sum(gpus for name, gpus in tuple(self._held.values()) if name == study)

    def most(self, study: str) -> int:
        """Return the most GPUs that the study held at any time."""
        return self._most[study]

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                listed = self._client.get(self._path).json()
                self._held = {}
                for pod in listed["items"]:
                    self._see("ADDED", pod)
                self._watch(listed["metadata"]["resourceVersion"])
            except (httpx.HTTPError, json.JSONDecodeError, KeyError):
                self._stop.wait(0.2)

    def _watch(self, version: str) -> None:
        query: dict[str, Any] = {"watch": "true", "resourceVersion": version, "timeoutSeconds": 2}
        with self._client.stream("GET", self._path, params=query) as answer:
            for line in answer.iter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR" or self._stop.is_set():
                    return
                self._see(event["type"], event["object"])

    def _see(self, kind: str, pod: Body) -> None:
        uid, ended = pod["metadata"]["uid"], pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        if kind == "DELETED" or ended or "nodeName" not in pod["spec"]:
            self._held.pop(uid, None)
            return
        container = pod["spec"]["containers"][0]
        spec = next((each["value"] for each in container.get("env", ()) if each["name"] == "INFPOP_RUN_SPEC"), None)
        if spec is None:
            return
        study = json.loads(spec.replace("$$", "$"))["study"]
        self._held[uid] = (study, int(container["resources"]["limits"]["nvidia.com/gpu"]))
        self._names[uid] = pod["metadata"]["name"]
        self._check(study)

    def _check(self, study: str) -> None:
        gpus = self.now(study)
        self._most[study] = max(self._most[study], gpus)
        limits = self._limits.get(study, [])
        since = time.monotonic() - GRACE_SECONDS
        recent = [limit for at, limit in limits[:-1] if at >= since] + [limit for _, limit in limits[-1:]]
        before = [limit for at, limit in limits if at < since][-1:]
        if limits and gpus > max([*recent, *before]):
            pods = sorted(self._names[uid] for uid, (name, _) in self._held.items() if name == study)
            self.violations.append(f"{study} holds {gpus} GPUs of {limits[-1][1]}: {', '.join(pods)}; {self.note()}")
