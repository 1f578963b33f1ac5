"""The process itself: the control socket is descriptor 3, as ``handle`` lays it out."""

from __future__ import annotations

import socket

from outrider.supervisor.zygote import child, server

if __name__ == "__main__":
    child.become(*server.serve(socket.socket(fileno=3)))
