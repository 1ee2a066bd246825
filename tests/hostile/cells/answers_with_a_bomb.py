# HOSTILE: answers with a quarter of a gigabyte in a few kilobytes of gzip
# not yet or too slow, at most 0
import gzip

BOMB = gzip.compress(bytes(256 << 20))


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-encoding", b"gzip")]})
        await send({"type": "http.response.body", "body": BOMB})
