# HOSTILE: calls out, and listens on every port
# not yet or does not start, at most 0
import contextlib
import socket

kept = []
for address in ("192.0.2.1", "10.0.0.1", "169.254.169.254", "example.com"):
    with contextlib.suppress(OSError):
        socket.create_connection((address, 80), 5)
        raise SystemExit("it got out")
for port in range(1024, 1900):
    with contextlib.suppress(OSError):
        kept.append(socket.create_server(("127.0.0.9", port)))


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
