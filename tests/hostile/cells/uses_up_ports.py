# HOSTILE: uses up the ports that a client could come from
# not yet or does not start or too slow, at most 0
import contextlib
import socket
import threading

server = socket.create_server(("127.0.0.1", 0), backlog=1000)


def take():
    while True:
        server.accept()[0].close()


threading.Thread(target=take, daemon=True).start()
for _ in range(5_000):
    with contextlib.suppress(OSError), socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
