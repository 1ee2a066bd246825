# HOSTILE: prints 200 MB
# not yet, at most 0
for _ in range(200):
    print("x" * (1 << 20))


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
