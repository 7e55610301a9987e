"""Find config.json of a Hugging Face hub model, in the local cache or on the hub. Needs `huggingface_hub`.

A hub that does not answer is not an error: the first run reports it. A refusal by the hub is an error.
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
    """Return the path of the model's config.json on this machine, None if the hub cannot be reached.

    Raises:
        HubRefusal: the hub has no such model, revision or file, or does not give this user access to it.
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
        raise HubRefusal("name", "the hub has no such model, or does not give you access to it", remedy) from error
    except LocalEntryNotFoundError:
        return None
    except EntryNotFoundError as error:
        remedy = "Name a model in the transformers format"
        raise HubRefusal("name", "this hub repository has no config.json", remedy) from error
    except Exception:  # noqa: BLE001 - any failure of the network or the cache
        return None


def _answers() -> bool:
    """Return whether the hub answers one request: its own client retries for half a minute without a network."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx.head(constants.ENDPOINT, timeout=_ANSWER_TIMEOUT_S)
    except httpx.HTTPError:
        return False
    return True
