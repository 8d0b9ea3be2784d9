"""Access to the model hub without minutes of retries where there is no network, and without its warnings."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

from semiovs.env import hub_offline


@contextmanager
def hub() -> Iterator[None]:
    """In this context the hub's client logs errors only, and uses its cache alone if the hub's host cannot be found."""
    logger = logging.getLogger("huggingface_hub")
    level, offline = logger.level, constants.HF_HUB_OFFLINE
    logger.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = offline or not _has_address(urlsplit(constants.ENDPOINT).hostname)
    try:
        yield
    finally:
        logger.setLevel(level)
        constants.HF_HUB_OFFLINE = offline


def is_online() -> bool:
    """Whether the hub may be asked (`HF_HUB_OFFLINE`) and its host has an address."""
    return not constants.HF_HUB_OFFLINE and not hub_offline() and _has_address(urlsplit(constants.ENDPOINT).hostname)


def _has_address(host: str | None) -> bool:
    if getproxies():  # the proxy knows addresses that this machine need not know
        return True
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False
