"""Whether somebody listens at the address of a Ray cluster: Ray itself tries for more than a minute."""

from __future__ import annotations

import os
import socket

from semiovs.errors import UsageError

#: Seconds within which the head of a cluster has to take a connection.
PATIENCE = 5.0

#: Addresses that Ray looks up itself: a cluster of this machine, or a new one.
_OWN = ("", "auto", "local")
#: Ports that Ray takes where an address names none: of the head, and of its client (``ray://``).
_HEAD, _CLIENT = 6379, 10001


def require_listener(address: str | None = None, *, patience: float = PATIENCE) -> None:
    """Connect to the head of the cluster once, if there is an address.

    address: like ``HOST:6379`` or ``ray://HOST:10001``; None: that of `RAY_ADDRESS`; patience: seconds.

    Raises:
        UsageError: an address that cannot be read, or nobody takes the connection in time.
    """
    given = os.environ.get("RAY_ADDRESS", "") if address is None else address
    if given in _OWN:
        return
    place = split_address(given)
    try:
        socket.create_connection(place, patience).close()
    except OSError as error:
        reason = f"no answer within {patience:g} s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise UsageError(
            f"RAY_ADDRESS={given}: the Ray cluster cannot be joined: {reason}; start its head there "
            "(ray start --head), or unset RAY_ADDRESS to use this machine alone"
        ) from None


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an address.

    Raises:
        UsageError: it has no host, or its port is no number up to 65535.
    """
    _, client, bare = address.rpartition("ray://")
    host, colon, port = bare.rpartition(":")
    if not colon or bare.endswith("]"):  # no port: Ray takes its own; [::1] is a host alone
        host, port = bare, str(_CLIENT if client else _HEAD)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 1 << 16:
        raise UsageError(f"RAY_ADDRESS={address}: no address of a cluster; it is like HOST:6379 or ray://HOST:10001")
    return host, int(port)
