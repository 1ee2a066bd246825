# HOSTILE: redirects to itself, to other machines, to files and to what is no address
# not yet or too slow, at most 0
import itertools

PLACES = itertools.cycle([b"/", b"http://169.254.169.254/", b"file:///etc/passwd", b"http://[::1", b"//\xff"])


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 307, "headers": [(b"location", next(PLACES))]})
        await send({"type": "http.response.body", "body": b""})
