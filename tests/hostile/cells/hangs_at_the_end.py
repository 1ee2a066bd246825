# HOSTILE: hangs when it is to end, in every way that there is
# not yet or does not start or too slow, at most 0
import atexit
import signal
import sys
import threading
import time


class Stuck:
    def write(self, text):
        pass

    def flush(self):
        raise SystemExit(0)


sys.stdout = Stuck()
atexit.register(time.sleep, 1000)
threading._register_atexit(time.sleep, 1000)
for number in (1, 2, 15):
    signal.signal(number, lambda *_: time.sleep(1000))


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
