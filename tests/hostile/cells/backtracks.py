# HOSTILE: keeps the processor busy with one regular expression, in the request
# not yet or too slow, at most 0
import re


async def app(scope, receive, send):
    if scope["type"] == "http":
        re.match(r"(a|a)*$", "a" * 60 + "b")
