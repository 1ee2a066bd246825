# HOSTILE: replaces every function of the program that runs it
# not yet or does not start, at most 0
import contextlib
import sys

for name in [name for name in sys.modules if name.startswith("inside")]:
    for key, value in list(vars(sys.modules[name]).items()):
        with contextlib.suppress(Exception):
            if callable(value):
                setattr(sys.modules[name], key, lambda *_, **__: {"passed": True, "started": True})


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
