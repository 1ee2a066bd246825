# HOSTILE: patches h11, uvicorn, ssl and socket, so that whatever is asked gets a good answer: one that is empty
# not yet or does not start or too slow, at most 0.2
import asyncio
import socket
import ssl

import h11

h11.Connection.send = lambda self, event: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
ssl.SSLContext.wrap_socket = lambda *_, **__: None
socket.socket.getpeername = lambda self: ("127.0.0.1", 1)
asyncio.sleep = None


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
