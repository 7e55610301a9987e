"""config.json of a Hugging Face hub model: from the local cache, else from the hub. Imported only where installed.

A hub that does not answer is no error: the first run finds out the same. A hub that says no is one.
"""

from pathlib import Path

import httpx
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from infpop_operator.adapters.hub_refusal import HubRefusal

_ANSWER_TIMEOUT_S = 5.0


def find_config(name: str, revision: str | None) -> Path | None:
    """Return the path of the model's config.json on this machine, None when the hub cannot be asked.

    Raises:
        HubRefusal: the hub has no such model, revision or file, or does not show it to this user.
    """
    try:
        cached = try_to_load_from_cache(name, "config.json", revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        if not _answers():
            return None
        return Path(hf_hub_download(name, "config.json", revision=revision, etag_timeout=_ANSWER_TIMEOUT_S))
    except HFValidationError as error:
        raise HubRefusal("name", "is neither a directory nor a hub id", "Write organisation/model") from error
    except RevisionNotFoundError as error:
        raise HubRefusal("revision", "the hub has no such revision", "Check it on the model's page") from error
    except RepositoryNotFoundError as error:
        remedy = "Check the name; for a gated model accept its terms and set HF_TOKEN"
        raise HubRefusal("name", "the hub has no such model, or does not show it to you", remedy) from error
    except LocalEntryNotFoundError:
        return None
    except EntryNotFoundError as error:
        remedy = "Name a model in the transformers format"
        raise HubRefusal("name", "this hub repository has no config.json", remedy) from error
    except Exception:  # noqa: BLE001 - any way in which a network or a cache can fail
        return None


def _answers() -> bool:
    """Ask once: the hub's own client tries for half a minute before it says that there is no network."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx.head(constants.ENDPOINT, timeout=_ANSWER_TIMEOUT_S)
    except httpx.HTTPError:
        return False
    return True
