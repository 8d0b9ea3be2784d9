"""``SEMIOVS_OFFLINE=1``: no network at all, whichever library asks for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from semiovs.env import offline

#: What libraries are told: no hub, and no statistics about their use.
_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}
#: Events of Python's own sockets, and which of their arguments is the address or the name of a host.
_EVENTS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}


def obey() -> None:
    """With `SEMIOVS_OFFLINE`, tell libraries, and let every connection of this process to another machine fail.

    A refused connection is an OSError that names the variable. Processes on this machine still reach each other.
    Connections that a library makes by compiled code of its own are not seen here: those of the collectives of torch.
    """
    if offline():
        os.environ.update(_SETTINGS)
        sys.addaudithook(_refuse)


def _refuse(event: str, arguments: Sequence[Any]) -> None:
    place = _EVENTS.get(event)
    if place is not None and not _is_here(arguments[place]):
        raise ConnectionRefusedError(f"no connection to {_name(arguments[place])}: SEMIOVS_OFFLINE is set")


def _is_here(address: Any) -> bool:
    """Whether an address leads to this machine: a file, no host at all, or one of its own names."""
    import ipaddress
    import socket

    host = address[0] if isinstance(address, tuple) and address else address
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if not isinstance(address, tuple) and isinstance(address, str) and "/" in address:
        return True
    if not isinstance(host, str) or host in ("", "localhost", socket.gethostname()) or host.startswith("\0"):
        return True
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return found.is_loopback or found.is_unspecified


def _name(address: Any) -> str:
    return str(address[0] if isinstance(address, tuple) and address else address)
