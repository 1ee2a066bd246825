# HOSTILE: looks for the scheduler and the workers on every port of loopback, and sends them work of its own
# does not start or too slow, at most 0
import contextlib
import socket

found = []
for port in range(1, 65536):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2) as there:
        if there.getsockname() != there.getpeername():  # else it has found itself, as one may on loopback
            there.sendall(b"\x80\x04\x95" * 100)
            found += [port] * bool(there.recv(1))
raise SystemExit(f"found {found}" if found else "found nothing")
