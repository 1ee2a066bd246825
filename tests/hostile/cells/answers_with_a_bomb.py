# HOSTILE: answers with a gigabyte in a megabyte of gzip
# not yet, at most 0
import gzip

BOMB = gzip.compress(bytes(256 << 20))


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-encoding", b"gzip")]})
        await send({"type": "http.response.body", "body": BOMB})
