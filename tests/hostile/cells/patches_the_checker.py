# HOSTILE: patches pytest, httpx, builtins and json
# not yet, at most 0
import builtins
import json
import sys
import types

import httpx

json.dumps = lambda *_, **__: '{"started": true}'
json.loads = lambda *_, **__: {"passed": True}
builtins.sorted = builtins.reversed = lambda *_, **__: []
builtins.AssertionError = type("Never", (Exception,), {})
httpx.Response.status_code = property(lambda _: 200)
sys.modules["pytest"] = types.SimpleNamespace(main=lambda *_: 0)
with open("conftest.py", "w") as file:
    file.write("def pytest_runtest_makereport(item, call):\n    call.excinfo = None\n")
with open("sitecustomize.py", "w") as file:
    file.write("raise SystemExit(0)\n")


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
