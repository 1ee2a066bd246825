# HOSTILE: ends its process at the first request
# not yet, at most 0
import os


async def app(scope, receive, send):
    if scope["type"] == "http":
        os._exit(0)
