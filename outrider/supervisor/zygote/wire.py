"""Packets between supervisor, zygote and spare: a JSON object each, with descriptors beside it."""

from __future__ import annotations

import json
import socket
from typing import Any

# More than the kernel's usual limit of a packet, which is the send buffer (208 KiB).
_MOST_BYTES = 1 << 20
_MOST_DESCRIPTORS = 4

Message = dict[str, Any]


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends that keep packets apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(to: socket.socket, message: Message, descriptors: tuple[int, ...] = ()) -> None:
    """Send one packet. Raises OSError: the other end is gone, or the packet too large."""
    socket.send_fds(to, [json.dumps(message).encode()], descriptors)


def receive(source: socket.socket) -> tuple[Message, list[int]] | None:
    """Return the next packet and its descriptors; None when the other end is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(source, _MOST_BYTES, _MOST_DESCRIPTORS)
    except ConnectionResetError:
        return None
    return (json.loads(data), descriptors) if data else None
