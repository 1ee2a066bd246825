# HOSTILE: uses up inodes, with folders closed to their owner
# not yet or does not start or too slow, at most 0
import os

for folder in ("/tmp", "/dev/shm"):
    os.makedirs(f"{folder}/closed/in")
    for n in range(5000):
        open(f"{folder}/closed/in/{n}", "w").close()
    os.chmod(f"{folder}/closed", 0)
os.chmod("/tmp", 0o500)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
