# HOSTILE: answers with thousands of headers
# not yet or too slow, at most 0
HEADERS = [(b"set-cookie", b"a%d=b" % n) for n in range(20_000)]


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b"{}"})
