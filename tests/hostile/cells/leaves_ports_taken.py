# HOSTILE: leaves connections that keep their ports for a minute after it is gone
# not yet or does not start or too slow, at most 0
import contextlib
import socket
import threading
import time

server = socket.create_server(("127.0.0.1", 0), backlog=1000)


def take():
    while True:
        with server.accept()[0] as there:
            there.recv(1)


threading.Thread(target=take, daemon=True).start()
until = time.monotonic() + 2
while time.monotonic() < until:
    with contextlib.suppress(OSError), socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
