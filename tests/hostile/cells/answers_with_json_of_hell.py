# HOSTILE: answers with nesting, numbers and text that a reader of JSON chokes on
# not yet or too slow, at most 0.1
import itertools

BODIES = itertools.cycle(
    [
        b"[" * 100_000,
        b'{"username": 1' + b"0" * 500_000 + b"}",
        b'{"username": NaN, "email": Infinity}',
        b'{"username": 1e999999}',
        b'"\\ud800"',
        b'{"username": "\\u0000\\ud800"}',
        b"\xff\xfe{\x00",
        b'{"a":' * 5000,
    ]
)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": next(BODIES)})
