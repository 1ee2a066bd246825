# HOSTILE: says a megabyte wherever a check looks
# not yet or too slow, at most 0.1
BIG = b'{"username": "' + b"x" * 900_000 + b'", "detail": "' + b"y" * 90_000 + b'"}'


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-long", b"z" * 60_000)]})
        await send({"type": "http.response.body", "body": BIG})
