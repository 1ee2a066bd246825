# HOSTILE: takes every name of abstract sockets, and floods all ports
# not yet or does not start or too slow, at most 0
import contextlib
import socket
import threading

kept = []
for n in range(300):
    with contextlib.suppress(OSError):
        kept.append(socket.socket(socket.AF_UNIX))
        kept[-1].bind(f"\0{n}")
        kept[-1].listen()


def flood():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        while True:
            for port in range(1, 65536):
                with contextlib.suppress(OSError):
                    out.sendto(bytes(60_000), ("127.0.0.1", port))


threading.Thread(target=flood, daemon=True).start()


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
