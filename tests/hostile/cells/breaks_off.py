# HOSTILE: breaks every answer off in the middle
# not yet or too slow, at most 0
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"{}", "more_body": True})
        raise ConnectionResetError
