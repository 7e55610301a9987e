"""Find config.json of a Hugging Face hub model, in the local cache or on the hub. Needs `huggingface_hub`.

The hub is asked once, unless the cache has the whole model. What waiting cannot help is a refusal: an unknown, private
or gated model, a hub that cannot be reached. A busy hub is none: the first run waits for it.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from infpop_operator.adapters.hub_refusal import HubRefusal
from infpop_runner.contract import one_line

_WEIGHTS = frozenset({".safetensors", ".bin", ".gguf", ".pt", ".pth"})
_LONGEST_CAUSE = 160
_UNAUTHORISED, _FORBIDDEN = 401, 403
_BAD_TOKEN = "invalid credentials"  # noqa: S105 - the hub's words for a token that it does not know
_TOKEN = re.compile(r"(?<=Bearer ).*")  # in the error for a header that cannot be sent
_CREDENTIALS = re.compile(r"(?<=//)[^/]*@")  # in an address


def find_config(name: str, revision: str | None, *, needs_weights: bool, token: str | None = None) -> Path | None:
    """Return the path of the model's config.json on this machine, None if the hub is too busy to say.

    Args:
        name: the model's hub id.
        revision: a branch, tag or commit, None for the main branch.
        needs_weights: whether a load needs the weights, too, so that a cache without them is not enough.
        token: what the study gives the engine as the hub's token, None for the one of this machine.

    Raises:
        HubRefusal: the hub has no such model, revision or file, does not give this user access to it, or cannot be
            reached while the cache does not have all of the model.
    """
    cached = _cached_config(name, revision)
    if cached is not None and (not needs_weights or _has_weights(cached.parent)):
        return cached
    answers = _ask(name, revision, token=token, lacks="all of its weights" if cached is not None else "it")
    if cached is not None or not answers:
        return cached
    try:
        return Path(hf_hub_download(name, "config.json", revision=revision, token=token))
    except Exception:  # noqa: BLE001 - the hub has just said that the file is there: the first run asks again
        return None


def _cached_config(name: str, revision: str | None) -> Path | None:
    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError as error:
        raise HubRefusal("name", "is neither a directory nor a hub id", "Write organisation/model") from error
    return Path(found) if isinstance(found, str) else None


def _has_weights(snapshot: Path) -> bool:
    """Return whether a snapshot in the cache has weights: all files of an index, or any file without one."""
    indexes = [_indexed(path) for path in snapshot.glob("*.index.json")]
    if indexes:
        return any(files and all((snapshot / file).is_file() for file in files) for files in indexes)
    return any(path.suffix in _WEIGHTS and path.is_file() for path in snapshot.iterdir())


def _indexed(index: Path) -> set[str]:
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return set()


def _ask(name: str, revision: str | None, *, token: str | None, lacks: str) -> bool:
    """Return whether the hub has the model's config.json for this user, False if it is too busy to say.

    It is asked once; its own download retries for half a minute.

    Raises:
        HubRefusal: it refuses, or cannot be reached; the cache lacks what `lacks` says.
    """
    page = f"{_endpoint()}/{name}"
    try:
        url = hf_hub_url(name, "config.json", revision=revision)
        get_hf_file_metadata(url, token=token, timeout=constants.HF_HUB_ETAG_TIMEOUT)  # as long as the engine waits
    except RevisionNotFoundError as error:
        remedy = f"Set model.revision to a branch, tag or commit of {page}"
        raise HubRefusal("revision", "the hub's model has no such revision", remedy) from error
    except GatedRepoError as error:
        raise _gated(page, has_token=_has_token(token)) from error
    except RepositoryNotFoundError as error:
        raise _unknown(page, has_token=_has_token(token)) from error
    except EntryNotFoundError as error:
        remedy = "Name a model in the transformers format"
        raise HubRefusal("name", "this hub repository has no config.json", remedy) from error
    except OfflineModeIsEnabled as error:
        variables = "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE"
        message = f"{variables} is set, and the cache {constants.HF_HUB_CACHE} does not have {lacks}"
        download = ["hf", "download", name, *([] if revision is None else ["--revision", revision])]
        remedy = f"Unset it, or fill the cache first: HF_HUB_OFFLINE=0 {shlex.join(download)}"
        raise HubRefusal("name", message, remedy, is_absence=True) from error
    except HfHubHTTPError as error:
        _refuse(error, page, has_token=_has_token(token))
        return False
    except Exception as error:
        raise _unreachable(error, lacks) from error
    return True


def _refuse(error: HfHubHTTPError, page: str, *, has_token: bool) -> None:
    """Raise what the answer of the hub means, unless the first run may get another one.

    Raises:
        HubRefusal: the hub does not accept the token, or does not give it access.
    """
    response = error.response
    if _BAD_TOKEN in response.headers.get("X-Error-Message", "").lower():
        remedy = "Set HF_TOKEN to a valid one, or unset it (and run hf auth logout) for a public model"
        raise HubRefusal("name", "the hub does not accept your token", remedy) from error
    if response.status_code == _UNAUTHORISED:
        raise _unknown(page, has_token=has_token) from error
    if response.status_code == _FORBIDDEN:
        raise _forbidden(page, has_token=has_token) from error


def _gated(page: str, *, has_token: bool) -> HubRefusal:
    if has_token:
        remedy = f"Accept its licence at {page} with that account, or set HF_TOKEN to a token of one that has"
        return HubRefusal("name", "is gated, and the account of your token has no access to it", remedy)
    remedy = f"Accept its licence at {page}, and set HF_TOKEN or run hf auth login"
    return HubRefusal("name", "is gated, and you have given no token", remedy)


def _unknown(page: str, *, has_token: bool) -> HubRefusal:
    access = "your token may not read it" if has_token else "it is private"
    remedy = f"Check the name at {page}; for a private model set HF_TOKEN to a token that may read it"
    return HubRefusal("name", f"the hub has no such model, or {access}", remedy)


def _forbidden(page: str, *, has_token: bool) -> HubRefusal:
    if has_token:
        return HubRefusal("name", "your token may not read this model", f"Give HF_TOKEN the right to read {page}")
    remedy = f"Set HF_TOKEN to a token that may read {page}, and check HTTPS_PROXY"
    return HubRefusal("name", "the hub, or a proxy before it, wants a token of all who read this model", remedy)


def _unreachable(error: Exception, lacks: str) -> HubRefusal:
    words = next((text for text in _words(error) if text), type(error).__name__)
    why = _CREDENTIALS.sub("", _TOKEN.sub("...", words))[:_LONGEST_CAUSE]
    message = f"the hub at {_endpoint()} cannot be reached ({why}), and the local cache does not have {lacks}"
    remedy = "Check the network, HTTPS_PROXY and HF_ENDPOINT, or name a local directory"
    return HubRefusal("name", message, remedy, is_absence=True)


def _words(error: BaseException) -> Iterator[str]:
    yield one_line(str(error))
    if error.__cause__ is not None:
        yield from _words(error.__cause__)


def _endpoint() -> str:
    """Return the hub's address as it may be shown: a mirror's may have a password."""
    return _CREDENTIALS.sub("", constants.ENDPOINT)


def _has_token(token: str | None) -> bool:
    return bool(token or get_token())
