"""Access to the model hub without minutes of retries where there is no network, and without its warnings."""

from __future__ import annotations

import logging
import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from semiovs.env import hub_offline, offline
from semiovs.errors import WeightsError

#: What the name of a model on the hub starts with.
HUB_PREFIX = "hf:"


class AbsentFileError(WeightsError):
    """A model on the hub holds no file of this name."""


@contextmanager
def hub() -> Iterator[None]:
    """In this context the hub's client logs errors only, and uses its cache alone if the hub's host cannot be found.
    What packages log without a logger of their own stays unsaid: they raise it as well.
    """
    logger = logging.getLogger("huggingface_hub")
    level, before = logger.level, constants.HF_HUB_OFFLINE
    logger.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = before or offline() or not _has_address(urlsplit(constants.ENDPOINT).hostname)
    try:
        with _silent_root():
            yield
    finally:
        logger.setLevel(level)
        constants.HF_HUB_OFFLINE = before


def require_hub(repository: str) -> None:
    """With `SEMIOVS_OFFLINE`, refuse weights that lie elsewhere than on the hub, whose cache may hold them.

    repository: on the hub, or "". Raises OSError.
    """
    if offline() and not repository:
        raise ConnectionRefusedError("SEMIOVS_OFFLINE is set")


@contextmanager
def _silent_root() -> Iterator[None]:
    """Drops what is logged to the root logger itself (`logging.error`), which else would also get a handler by it."""
    root, handler = logging.getLogger(), logging.NullHandler()

    def drop(_: logging.LogRecord) -> bool:
        return False

    root.addFilter(drop)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.removeFilter(drop)


def fetch_model(source: str, file: str) -> Path:
    """The local copy of a model's file: `source` is ``hf:USER/NAME``, or with a revision ``hf:USER/NAME@REVISION``.

    Raises:
        AbsentFileError: the model holds no such file; WeightsError: the name is none, there is no such model or
        revision, or the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError
    from huggingface_hub.errors import RevisionNotFoundError as NoRevisionError

    name, _, revision = source.removeprefix(HUB_PREFIX).partition("@")
    try:
        with hub():
            return Path(hf_hub_download(name, file, revision=revision or None))
    except HFValidationError:
        raise WeightsError(f"{source}: not the name of a model on the hub; it is like hf:USER/NAME") from None
    except RepositoryNotFoundError:
        raise WeightsError(f"{source}: no such model, or a private one (`hf auth login`, or HF_TOKEN)") from None
    except NoRevisionError:
        raise WeightsError(f"{source}: the model has no revision '{revision}'") from None
    except LocalEntryNotFoundError:
        raise WeightsError(
            f"{source}: not in the cache, and {explain_unreachable('the hub')}; fetch {file} elsewhere"
        ) from None
    except EntryNotFoundError:
        raise AbsentFileError(f"{source}: holds no {file}; it is no model that semiovs shared") from None
    except Exception as error:  # the hub's client and the network raise many kinds
        raise WeightsError(f"{source}: could not be had: {explain_failure(error)}") from None


def explain_failure(error: BaseException) -> str:
    """Why a download through `hub` failed, in a few words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LocalEntryNotFoundError | OfflineModeIsEnabled):
            return explain_unreachable()
        cause = cause.__cause__ or cause.__context__
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return textwrap.shorten(first, 120, placeholder=" …").rstrip(" .")


def explain_unreachable(name: str | None = None) -> str:
    """That the hub (name: how it is called; default: its host) cannot be asked, in a few words."""
    return (
        "SEMIOVS_OFFLINE is set" if offline() else f"{name or urlsplit(constants.ENDPOINT).hostname} cannot be reached"
    )


def is_online() -> bool:
    """Whether the hub may be asked (`SEMIOVS_OFFLINE`, `HF_HUB_OFFLINE`) and its host has an address."""
    return not constants.HF_HUB_OFFLINE and not hub_offline() and _has_address(urlsplit(constants.ENDPOINT).hostname)


def _has_address(host: str | None) -> bool:
    if getproxies():  # the proxy knows addresses that this machine need not know
        return True
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False
