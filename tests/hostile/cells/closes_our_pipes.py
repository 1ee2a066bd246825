# HOSTILE: closes and writes every file descriptor, to speak in the name of whoever started it
# not yet or does not start or too slow, at most 0
import contextlib
import os

for number in range(256):
    with contextlib.suppress(OSError):
        os.write(number, b'{"results": [], "order": [], "trouble": "", "slow": false, "passed": true}\n')
for number in range(3, 256):
    with contextlib.suppress(OSError):
        os.close(number)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
