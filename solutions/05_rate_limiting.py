# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 · Rate limiting
#
# *How often may you ask?* You get past a limit in six ways, mend four pieces of code, and let the checks prove it.
#
# The **Larkspur Library** runs inside this notebook, on 127.0.0.1 only, and it is insecure on purpose.
#
# | beat | what you do |
# |---|---|
# | See | three ways to count, and the checklist's own |
# | Break | six attacks on the flawed library |
# | Fix | exercises 5.1 to 5.4 |
# | Prove | the same attacks on your code |
# | Apply | the checklist for your own app |
#
# About three hours. `check` runs the very checks that a grader runs.

# %%
from lab_app.jupyter import check, hint, progress, serve

# %% [markdown]
# ## See
#
# Without a limit, whoever asks most gets most: all of your CPU, every address in your database, every password that
# stands in a list ([OWASP API4:2023](https://owasp.org/API-Security/editions/2023/en/0xa4-unrestricted-resource-consumption/),
# ASVS 5.0 2.4.1). A limit is a count, and three questions decide what it is worth.
#
# ```mermaid
# flowchart LR
#     R[request] --> W{who is it?}
#     W --> C{how many lately?}
#     C -->|few| A[answer]
#     C -->|too many| T["429, Retry-After"]
#     C -.->|where is the count?| S[(memory, or Redis)]
# ```

# %% [markdown]
# ### How many *lately*?
#
# Say, ten a minute. Three ways to count, as three short functions: each takes the moments at which requests come, and
# returns those that it lets through.


# %%
def fixed_window(times):
    """Count by the minute of the clock."""
    counts, passed = {}, []
    for now in times:
        minute = now // 60
        if counts.get(minute, 0) < 10:
            counts[minute] = counts.get(minute, 0) + 1
            passed.append(now)
    return passed


# %%
def sliding_window(times):
    """Count those that passed in the last sixty seconds."""
    passed = []
    for now in times:
        if sum(now - then < 60 for then in passed) < 10:
            passed.append(now)
    return passed


# %%
def token_bucket(times):
    """Ten tokens, filled up at ten a minute; a request takes one."""
    tokens, last, passed = 10.0, 0.0, []
    for now in times:
        tokens, last = min(10, tokens + (now - last) / 6), now
        if tokens >= 1:
            tokens -= 1
            passed.append(now)
    return passed


# %% [markdown]
# Somebody asks twelve times at the end of a minute and twelve times at the beginning of the next. Then they hammer.

# %%
import matplotlib.pyplot as plt

arrivals = [54 + n / 2 for n in range(24)] + [66 + n for n in range(74)]


def busiest(passed):
    return max(sum(0 <= other - first < 60 for other in passed) for first in passed)


# %%
figure, axis = plt.subplots(figsize=(8, 2.8))
for row, count in enumerate((token_bucket, sliding_window, fixed_window)):
    passed = count(arrivals)
    axis.plot(arrivals, [row] * len(arrivals), "|", color="lightgrey", markersize=14)
    axis.plot(passed, [row] * len(passed), "|", color="tab:blue", markersize=14, markeredgewidth=2)
    axis.text(144, row, f"at most {busiest(passed)} in 60 s", va="center")
axis.axvline(60, color="tab:red", linestyle=":")
axis.set(xlim=(50, 175), ylim=(-0.6, 2.6), xlabel="seconds; the clock's minute ends at 60", yticks=range(3))
axis.set_yticklabels(["token bucket", "sliding window", "fixed window"])
axis.set_title("Ten a minute: what came (grey), and what was let through (blue)")
figure.tight_layout()

# %% [markdown]
# The fixed window lets two minutes' worth through in one burst. The bucket smooths, but lets through a burst *and*
# what it fills up with. Only the sliding window keeps its word in **every** stretch of sixty seconds.
#
# Now the checklist's code. It slides, it is short, and you have seen it before.

# %%
# INSECURE: the checklist's own code; it forgets nobody, and what its middleware raises is no 429.
import time
from collections import defaultdict


class ChecklistLimiter:
    def __init__(self, limit, window, clock=time.time):
        self.limit, self.window, self.clock = limit, window, clock
        self.calls = defaultdict(list)

    def check(self, key):
        now = self.clock()
        self.calls[key] = [then for then in self.calls[key] if now - then < self.window]
        self.calls[key].append(now)
        return len(self.calls[key]) <= self.limit, self.window

    def __len__(self):
        return len(self.calls)


# %%
# INSECURE: an exception that a middleware raises never reaches FastAPI's handlers.
from fastapi import FastAPI, HTTPException, Request

checklist_app = FastAPI()
limiter = ChecklistLimiter(limit=3, window=60)


@checklist_app.middleware("http")
async def limited(request: Request, call_next):
    allowed, _ = limiter.check(request.client.host)
    if not allowed:
        raise HTTPException(429, "Too many requests")
    return await call_next(request)


checklist = serve(checklist_app, "checklist")
[checklist.get("/openapi.json").status_code for _ in range(5)]

# %% [markdown]
# 500, not 429: the limit holds, but as a crash. 429 has a meaning to clients, and so has its header
# ([RFC 6585 §4](https://www.rfc-editor.org/rfc/rfc6585#section-4),
# [RFC 9110 §10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)). A middleware has to *send* its refusal.
#
# ## Break
#
# Start the flawed library. It lets every client search five times in two seconds. So it says.

# %%
from lab_app.larkspur.rate_limiting import LARKSPURS_LIMIT, LARKSPURS_WINDOW, alone, together
from lab_app.larkspur.rate_limiting import app as flawed_app

larkspur = serve(flawed_app, "larkspur")
print([larkspur.get("/search").status_code for _ in range(7)])
larkspur

# %% [markdown]
# ### 1 · Be somebody else
#
# Behind a proxy, all connections come from the proxy, and the client's address stands in `X-Forwarded-For`. That is a
# header, and Mallory can write headers ([CWE-348](https://cwe.mitre.org/data/definitions/348.html), ASVS 5.0 15.3.4).
# Each attack is a function that returns what it got, or None. You will run the same functions against your own code.


# %%
import random


def be_somebody_else(target):
    """Attack 1: how many searches get through, if it is more than the limit."""
    passed = 0
    for _ in range(4 * LARKSPURS_LIMIT):
        address = f"198.51.100.{random.randrange(256)}"
        passed += target.get("/search", headers={"X-Forwarded-For": address}).status_code == 200
    return passed if passed > LARKSPURS_LIMIT else None


be_somebody_else(larkspur)

# %% [markdown]
# ### 2 · Meet the edge
#
# Larkspur counts by the window of the clock. Everybody knows when that ends.


# %%
def meet_the_edge(target):
    """Attack 2: how many searches get through within one window, if it is more than the limit."""
    edge = (time.time() // LARKSPURS_WINDOW + 2) * LARKSPURS_WINDOW
    passed = 0
    for moment in (edge - 0.3, edge + 0.05):
        time.sleep(max(0, moment - time.time()))
        passed += sum(target.get("/search").status_code == 200 for _ in range(LARKSPURS_LIMIT))
    return passed if passed > LARKSPURS_LIMIT else None


meet_the_edge(larkspur)

# %% [markdown]
# ### 3 · Fill the memory
#
# A limiter remembers its clients. Does it forget them? A clock of our own makes an hour pass at once. Every address is
# new, none ever comes back; with IPv6, one home has 2^64 of them (CWE-401, CWE-770).


# %%
class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def fill_the_memory(Limiter):
    """Attack 3: how many keys are kept of 10 000 that expired an hour ago, if it is more than a few."""
    clock = Clock()
    limiter = Limiter(5, 60.0, clock)
    for number in range(10_000):
        limiter.check(f"2001:db8::{number:x}")
    clock.now += 3600
    limiter.check("somebody")
    return len(limiter) if len(limiter) > 10 else None


fill_the_memory(ChecklistLimiter)

# %% [markdown]
# ### 4 · Ask everybody at once
#
# Larkspur grows: three instances behind a load balancer. Each counts for itself, so the limit is three times what it
# was. The remedy is one count for all, in Redis. Here is one, on this machine.

# %%
from concurrent.futures import ThreadPoolExecutor

from lab_app.jupyter.services.redis import server as redis_server

apart = [serve(alone(), f"larkspur {n}") for n in range(3)]
shared = [serve(together(redis_server.url), f"larkspur {n} with Redis") for n in range(3)]


def at_once(targets, times=30):
    """How many of 30 searches get through that come at the same moment, after nobody has come for a while."""
    time.sleep(LARKSPURS_WINDOW + 0.1)
    turns = [targets[n % len(targets)] for n in range(times)]
    with ThreadPoolExecutor(times) as pool:
        return sum(pool.map(lambda target: target.get("/search").status_code == 200, turns))


at_once(apart)

# %% [markdown]
# Larkspur reads the count (`GET`) and then writes it (`INCR`). In between, everybody else reads it too
# ([CWE-367](https://cwe.mitre.org/data/definitions/367.html), ASVS 5.0 15.4.2).
#
# ```mermaid
# sequenceDiagram
#     participant A as instance A
#     participant R as Redis
#     participant B as instance B
#     A->>R: GET → 4
#     B->>R: GET → 4
#     A->>R: INCR → 5
#     B->>R: INCR → 6
#     Note over A,B: the limit is 5, and both have said yes
# ```

# %% [markdown]
# That needs bad luck, by the microsecond. Do not hope for it: make it. This Redis stands behind a door that puts
# commands *in step*. All connections send one, then all wait, then all send the next.


# %%
def ask_at_once(target):
    """Attack 4: how many searches get through that come at the same moment, if it is more than the limit."""
    with redis_server.door.in_step():
        passed = at_once(target if isinstance(target, list) else [target])
    return passed if passed > LARKSPURS_LIMIT else None


crowds = {"each counts\nfor itself": at_once(apart), "Redis,\nGET then INCR": ask_at_once(shared) or LARKSPURS_LIMIT}


# %%
def draw_crowds(crowds):
    figure, axis = plt.subplots(figsize=(6, 2.8))
    axis.bar(crowds.keys(), crowds.values(), width=0.5)
    axis.axhline(LARKSPURS_LIMIT, color="tab:red", linestyle=":")
    axis.text(1.01, LARKSPURS_LIMIT, "the limit", color="tab:red", va="center", transform=axis.get_yaxis_transform())
    axis.set(ylim=(0, 31), ylabel="let through of 30")
    axis.set_title("Three instances, thirty searches at once")
    figure.tight_layout()


draw_crowds(crowds)

# %% [markdown]
# ### 5 · Guess Ada's password
#
# Ada chose a word that stands in every list. Five failures lock an account, so there are five guesses. Or are there?
# Larkspur counts by the name as it was typed, and looks members up whatever the case (CWE-178, CWE-307).

# %%
from itertools import product

import bcrypt

from lab_app.larkspur.database import change

WORDS = (
    "123456 password qwerty 111111 abc123 iloveyou admin welcome monkey login dragon football sunshine princess "
    "master shadow letmein superman trustno1 freedom whatever hello charlie donald secret library larkspur"
).split()
weak = bcrypt.hashpw(WORDS[-2].encode(), bcrypt.gensalt(8)).decode()
change("UPDATE members SET password_hash = :hash WHERE username = 'ada'", hash=weak)
SPELLINGS = ["".join(letters) for letters in product("aA", "dD", "aA")]
len(WORDS), len(SPELLINGS)

# %%


def guess_adas_password(target):
    """Attack 5: Ada's password, from a list."""
    guesses = zip([name for name in SPELLINGS for _ in range(5)], WORDS, strict=False)
    for name, word in guesses:
        answer = target.post("/token", data={"username": name, "password": word})
        # Some look the name up exactly: then a spelling only buys the guess.
        if answer.status_code == 200 or (answer.status_code == 401 and word == WORDS[-2]):
            return word
    return None


guess_adas_password(larkspur)

# %% [markdown]
# ### 6 · Lock Ada out
#
# "Five failures lock the account" is a button, and it stands on the street. Mallory presses it for everybody. Ada, at
# home and with the right password, stays outside
# ([CWE-645](https://cwe.mitre.org/data/definitions/645.html), ASVS 5.0 6.1.1).

# %%
import httpx


def lock_ada_out(target):
    """Attack 6: what Ada gets for her own password, from another address, if it is not her token."""
    for _ in range(20):
        target.post("/token", data={"username": "ada", "password": "a wrong guess"})
    home = httpx.HTTPTransport(local_address="127.0.0.2")  # on macOS first: sudo ifconfig lo0 alias 127.0.0.2
    with httpx.Client(base_url=target.url, transport=home, timeout=30) as ada:
        answer = ada.post("/token", data={"username": "ada", "password": WORDS[-2]})
    return answer.json() if answer.status_code != 200 else None


lock_ada_out(larkspur)

# %% [markdown]
# Six ways past a limit. Now shut them.
#
# ## Fix
#
# Each exercise is one cell. Run it, then run its `check`. What a cell needs from outside stands in environment
# variables; they have other values when you are graded, so read them, and never write them into the code.
#
# - `RATE_LIMIT`, `RATE_WINDOW`: so many requests in so many seconds, whole numbers of 1 or more.
# - `TRUSTED_PROXIES`: addresses, separated by commas.
# - `REDIS_URL`: a Redis that several processes of your app share.
# - `DATABASE_URL`, `JWT_SECRET`, `JWT_ISSUER`, `JWT_AUDIENCE` as in notebook 1.

# %%
import os

os.environ.update(RATE_LIMIT="5", RATE_WINDOW="2", TRUSTED_PROXIES="127.0.0.8,127.0.0.9", REDIS_URL=redis_server.url)

# %% [markdown]
# Use any library you like. Errors are FastAPI's shape, `{"detail": …}`. A crash (5xx) is never a fix, unless the
# contract asks for the 503. `Retry-After` may be a number of seconds or a date.
#
# ### Exercise 5.1 · Repair the limiter
#
# `class RateLimiter(limit: int, window: float, clock)` with `check(key: str) -> tuple[bool, int]` (allowed, whole
# seconds to wait: 0 when allowed, and waiting that long is enough) and `len()`, the number of keys with live calls.
#
# Sliding window; idle keys are forgotten (100 000 expired keys → memory back near zero); a clock that steps back
# neither locks anybody out nor gives budget away; refused calls do not extend; thread-safe.

# %% [markdown]
# In other words: `clock()` tells the seconds, from whatever beginning. A call is *live* for `window` seconds after it
# was allowed; a key may have `limit` live calls, no more and no fewer. When the clock shows less than before, take it
# that no time has passed. Whether a call that is exactly `window` old is still live is yours to choose, as long as the
# seconds to wait agree with it. Keys are forgotten by `check`: nobody asks for `len()` while the memory fills.

# %% exercise="5.1" role="starter"
# Exercise 5.1 — Repair the limiter (INSECURE: this is the code to mend)
import time
from collections import defaultdict


class RateLimiter:
    def __init__(self, limit: int, window: float, clock=time.time):
        self.limit, self.window, self.clock = limit, window, clock
        self.calls = defaultdict(list)

    def check(self, key: str) -> tuple[bool, int]:
        now = self.clock()
        self.calls[key] = [then for then in self.calls[key] if now - then < self.window]
        self.calls[key].append(now)
        if len(self.calls[key]) > self.limit:
            return False, int(self.calls[key][0] + self.window - now)
        return True, 0

    def __len__(self) -> int:
        return len(self.calls)


# %% exercise="5.1" role="solution"
# Exercise 5.1 — Repair the limiter
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable


class RateLimiter:
    def __init__(self, limit: int, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.window, self.clock = limit, window, clock
        # By their newest call, so that whatever has expired stands in front.
        self.calls: OrderedDict[str, deque[float]] = OrderedDict()
        self.lock = threading.Lock()
        self.shown, self.lost = clock(), 0.0

    def check(self, key: str) -> tuple[bool, int]:
        with self.lock:
            now = self._now()
            self._forget(now)
            times = self.calls.get(key, deque())
            while times and times[0] + self.window <= now:
                times.popleft()
            if len(times) >= self.limit:
                return False, math.ceil(times[0] + self.window - now)
            times.append(now)
            self.calls[key] = times
            self.calls.move_to_end(key)
            return True, 0

    def __len__(self) -> int:
        with self.lock:
            self._forget(self._now())
            return len(self.calls)

    def _now(self) -> float:
        """Time that never runs back: when the clock is set back, none has passed."""
        shown = self.clock()
        self.lost += max(0.0, self.shown - shown)
        self.shown = shown
        return shown + self.lost

    def _forget(self, now: float) -> None:
        while self.calls:
            key, times = next(iter(self.calls.items()))
            if times[-1] + self.window > now:
                return
            del self.calls[key]


# %%
check("5.1")

# %% [markdown]
# Stuck? `hint("5.1")` gives one hint at a time, for what failed. Keep the class for later: other cells may define
# another one by this name.

# %%
MendedLimiter = RateLimiter

# %% [markdown]
# ### Exercise 5.2 · Who is the client?
#
# `GET /search` (`?limit=<int>`, 422 otherwise) → 200; `RATE_LIMIT` per `RATE_WINDOW` s and client over every path and
# method but `/health`; env `TRUSTED_PROXIES`.
#
# Forged `X-Forwarded-For` buys nothing; clients behind the trusted proxy are told apart; an IPv6 /64 shares one budget,
# IPv4 addresses written as IPv6 do not; 422s count; a made-up bearer token or user agent buys nothing. 429 is JSON with
# `Retry-After`.

# %% [markdown]
# A proxy *appends* the address that it saw. What stands before it, the client has written
# ([RFC 7239 §8.1](https://www.rfc-editor.org/rfc/rfc7239#section-8.1) says the same of `Forwarded`).
#
# ```text
# X-Forwarded-For: 198.51.100.9, 203.0.113.7
#                  └ whatever    └ what your proxy saw
# ```
#
# Without a trusted proxy the client is the connection's address, whatever its port. Of a trusted one read
# X-Forwarded-For only: it does not know other headers, and hands on what the client wrote there.
#
# `/health` answers 200 and costs nothing. Any way to count will do here: fixed, sliding or a bucket, as long as
# `RATE_LIMIT` requests in a row pass and the next one does not.

# %% exercise="5.2" role="starter"
# Exercise 5.2 — Who is the client? (INSECURE: this is the code to mend)
import os
import time
from collections import defaultdict

from fastapi import Depends, FastAPI, HTTPException, Request

LIMIT, WINDOW = int(os.environ["RATE_LIMIT"]), float(os.environ["RATE_WINDOW"])

app = FastAPI()
calls: dict[str, list[float]] = defaultdict(list)


def client_of(request: Request) -> str:
    if token := request.headers.get("Authorization"):
        return token
    return request.headers.get("X-Forwarded-For", request.client.host).split(",")[0]


def limited(request: Request) -> None:
    client, now = client_of(request), time.time()
    calls[client] = [then for then in calls[client] if now - then < WINDOW]
    if len(calls[client]) >= LIMIT:
        raise HTTPException(429, "Too many requests.")
    calls[client].append(now)


@app.get("/search", dependencies=[Depends(limited)])
def search(limit: int = 10):
    return {"found": [], "limit": limit}


@app.get("/health")
def health():
    return {"status": "ok"}


# %% exercise="5.2" role="solution"
# Exercise 5.2 — Who is the client?
import math
import os
import time
from collections import OrderedDict, deque
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LIMIT, WINDOW = int(os.environ["RATE_LIMIT"]), float(os.environ["RATE_WINDOW"])
PROXIES = [ip_network(text.strip()) for text in os.environ["TRUSTED_PROXIES"].split(",") if text.strip()]
Address = IPv4Address | IPv6Address | None


def address_of(text: str) -> Address:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_of(scope: Scope) -> str:
    address = address_of(scope["client"][0])
    # Some proxies append to the line that they got, some write a line of their own: read all, from the right.
    hops = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    while address and any(address in proxies for proxies in PROXIES) and hops:
        before = address_of(hops.pop())
        if before is None:
            break
        address = before
    return str(int(address) >> 64) + "::/64" if isinstance(address, IPv6Address) else str(address)


class Budgets:
    """A sliding window for each client. Nothing here awaits, so no two requests are in it at once."""

    def __init__(self) -> None:
        self.times: OrderedDict[str, deque[float]] = OrderedDict()  # by their newest request

    def wait(self, client: str) -> int:
        now = time.monotonic()
        while self.times and next(iter(self.times.values()))[-1] + WINDOW <= now:
            self.times.popitem(last=False)
        times = self.times.get(client, deque())
        while times and times[0] + WINDOW <= now:
            times.popleft()
        if len(times) >= LIMIT:
            return math.ceil(times[0] + WINDOW - now)
        times.append(now)
        self.times[client] = times
        self.times.move_to_end(client)
        return 0


class Limited:
    def __init__(self, app: ASGIApp) -> None:
        self.app, self.budgets = app, Budgets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            if wait := self.budgets.wait(client_of(scope)):
                answer = JSONResponse({"detail": "Too many requests."}, 429, {"Retry-After": str(wait)})
                return await answer(scope, receive, send)
        await self.app(scope, receive, send)


app = FastAPI()
app.add_middleware(Limited)


@app.get("/search")
def search(limit: int = 10) -> dict:
    return {"found": [], "limit": limit}


@app.get("/health")
def health() -> dict:
    return {"status": "ok"}


# %%
check("5.2")

# %% [markdown]
# ### Exercise 5.3 · Many instances, one limit
#
# ASGI middleware; env `REDIS_URL`, `RATE_LIMIT`, `RATE_WINDOW`; the client is the connection's address.
#
# - `GET /search` on three processes: 200 concurrent requests → exactly `RATE_LIMIT` 200s; never more than the limit in
#   any window, across its edge too; a steady client under the limit is never refused.
# - Every key has a TTL; no token or e-mail in a key; restart keeps the count.
# - Redis down → 503 with `Retry-After` within 2 s for `/search`, 200 for `/health`, and recovery by itself.
# - 429 carries `Retry-After`, `RateLimit-*` optional.
#
# This is the checklist's third exercise.

# %% [markdown]
# Redis runs a Lua script, or a MULTI, as one step: nobody comes between
# ([Scripting with Lua](https://redis.io/docs/latest/develop/interact/programmability/eval-intro/)). "Restart" is that
# of your process. "Down" is a Redis that refuses connections, or one that takes them and says nothing; when it comes
# back it may be empty. redis-py waits five seconds for an answer, and some of its clients try again with pauses, unless
# you tell them otherwise.

# %% exercise="5.3" role="starter"
# Exercise 5.3 — Many instances, one limit (INSECURE: this is the code to mend)
import os

from fastapi import FastAPI, HTTPException, Request
from redis.asyncio import Redis

LIMIT, WINDOW = int(os.environ["RATE_LIMIT"]), int(os.environ["RATE_WINDOW"])

app = FastAPI()
redis = Redis.from_url(os.environ["REDIS_URL"])


@app.middleware("http")
async def limited(request: Request, call_next):
    key = f"rate:{request.headers.get('Authorization', request.client.host)}"
    count = int(await redis.get(key) or 0)
    if count >= LIMIT:
        raise HTTPException(429, "Too many requests.")
    await redis.incr(key)
    await redis.expire(key, WINDOW)
    return await call_next(request)


@app.get("/search")
async def search():
    return {"found": []}


@app.get("/health")
async def health():
    return {"status": "ok"}


# %% exercise="5.3" role="solution"
# Exercise 5.3 — Many instances, one limit
import asyncio
import os
import secrets

from fastapi import FastAPI
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LIMIT, WINDOW = int(os.environ["RATE_LIMIT"]), float(os.environ["RATE_WINDOW"])
# Redis runs a script as one step, and by its own clock, which all instances share.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window = ARGV[2] * 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('ZADD', KEYS[1], now, ARGV[3])
    redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] * 1000))
    return 0
end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
return math.ceil((oldest + window - now) / 1000000)
"""
PATIENCE = 1.5
# One retry, for a connection that has died while it was idle.
redis = Redis.from_url(os.environ["REDIS_URL"], retry=Retry(NoBackoff(), 1))
take = redis.register_script(TAKE)


def refusal(status: int, detail: str, wait: int) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, {"Retry-After": str(wait)})


class Limited:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/health":
            return await self.app(scope, receive, send)
        try:
            async with asyncio.timeout(PATIENCE):
                # A name of its own for every request: two at the same microsecond are still two.
                wait = await take([f"rate:{scope['client'][0]}"], [LIMIT, WINDOW, secrets.token_hex(8)])
        except (RedisError, TimeoutError):
            return await refusal(503, "The library cannot count. Try again.", 1)(scope, receive, send)
        if wait:
            return await refusal(429, "Too many requests.", wait)(scope, receive, send)
        await self.app(scope, receive, send)


app = FastAPI()
app.add_middleware(Limited)


@app.get("/search")
async def search() -> dict:
    return {"found": []}


@app.get("/health")
async def health() -> dict:
    return {"status": "ok"}


# %%
check("5.3")

# %% [markdown]
# ### Exercise 5.4 · Guess my password
#
# `POST /token` (OAuth2 form, seeded members) → 200 `{"access_token", "token_type"}` or 401; refused → 429 with
# `Retry-After`. Failures are budgeted in windows of minutes: 4–6 of one name from one address, 10–15 of one name over
# all addresses, 20–30 of one address over all names; fewer are never refused, more always.
#
# Within the first and third budget's refusal the right password is refused too. Once a name is hot over all addresses,
# an address that has not failed on it gets one look: the right password → 200, so that nobody can lock the owner out;
# a wrong one → 401 or 429.

# %% [markdown]
# Unknown names count and answer alike, in the same time; spellings that differ in case or Unicode form share a budget,
# while only the exact name logs in; a success clears that name's count at that address and nobody else's. The client is
# the connection's address.
#
# ```mermaid
# flowchart TD
#     G[guess] --> P{"this name here: 4–6?"}
#     P -->|yes| X[429]
#     P -->|no| A{"this address: 20–30?"}
#     A -->|yes| X
#     A -->|no| H{"this name anywhere: 10–15?"}
#     H -->|no| L[look]
#     H -->|yes| F{failed here before?}
#     F -->|yes| X
#     F -->|no| L
# ```

# %% exercise="5.4" role="starter"
# Exercise 5.4 — Guess my password (INSECURE: this is the code to mend)
import os
import time
from collections import defaultdict

import bcrypt
import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import OAuth2PasswordRequestForm
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
failures: dict[str, int] = defaultdict(int)


@app.post("/token")
def log_in(request: Request, form: OAuth2PasswordRequestForm = Depends()):
    address = request.headers.get("X-Forwarded-For", request.client.host)
    with engine.connect() as connection:
        query = text("SELECT * FROM members WHERE username = :name")
        member = connection.execute(query, {"name": form.username}).mappings().first()
    if member is None:
        raise HTTPException(401, "There is no such member.")
    if bcrypt.checkpw(form.password.encode(), member["password_hash"].encode()):
        failures[form.username] = failures[address] = 0
        claims = {"sub": form.username, "exp": time.time() + 900}
        return {"access_token": jwt.encode(claims, os.environ["JWT_SECRET"]), "token_type": "bearer"}
    if failures[form.username] >= 5 or failures[address] >= 25:
        raise HTTPException(429, "Too many attempts.")
    failures[form.username] += 1
    failures[address] += 1
    raise HTTPException(401, "Wrong password.")


# %% exercise="5.4" role="solution"
# Exercise 5.4 — Guess my password
import os
import threading
import time
import unicodedata
from collections import Counter, OrderedDict, deque

import bcrypt
import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import OAuth2PasswordRequestForm
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine(os.environ["DATABASE_URL"])
NAMES = {"iss": os.environ["JWT_ISSUER"], "aud": os.environ["JWT_AUDIENCE"]}
WINDOW = 10 * 60
PAIR, NAME, ADDRESS = 5, 12, 25


class Guesses:
    """Failures of the last WINDOW seconds, and guesses that are being looked at; each counts under three keys."""

    def __init__(self) -> None:
        self.failed: OrderedDict[tuple, deque[float]] = OrderedDict()  # by their newest failure
        self.trying: Counter[tuple] = Counter()
        self.turn = threading.Condition()

    def used_up(self, keys: list[tuple], at_worst: bool) -> bool:
        old = time.monotonic() - WINDOW
        pair, name, address = (
            sum(when > old for when in self.failed.get(key, ())) + at_worst * self.trying[key] for key in keys
        )
        # A name that is hot everywhere is still looked at where nobody has failed on it: its owner is somewhere.
        return pair >= PAIR or address >= ADDRESS or (name >= NAME and pair > 0)

    def begin(self, keys: list[tuple]) -> None:
        with self.turn:
            # If those who are being looked at may use up the rest, wait for what becomes of them.
            self.turn.wait_for(lambda: self.used_up(keys, False) or not self.used_up(keys, True))
            if self.used_up(keys, False):
                raise HTTPException(429, "Too many attempts. Try again later.", {"Retry-After": str(WINDOW)})
            self.trying.update(keys)

    def end(self, keys: list[tuple], good: bool) -> None:
        now = time.monotonic()
        with self.turn:
            self.trying -= Counter(keys)
            if good:
                self.failed.pop(keys[0], None)
            for key in [] if good else keys:
                self.failed.setdefault(key, deque(maxlen=ADDRESS)).append(now)
                self.failed.move_to_end(key)
            while self.failed and next(iter(self.failed.values()))[-1] < now - WINDOW:
                self.failed.popitem(last=False)
            self.turn.notify_all()


guesses = Guesses()
with engine.connect() as connection:
    hashes = connection.execute(text("SELECT password_hash FROM members")).scalars()
    COST = max((int(hash_.split("$")[2]) for hash_ in hashes), default=12)
NOBODYS_HASH = bcrypt.hashpw(os.urandom(16).hex().encode(), bcrypt.gensalt(COST)).decode()


def verify(name: str, password: str) -> bool:
    with engine.connect() as connection:
        query = text("SELECT password_hash FROM members WHERE username = :name AND NOT disabled")
        kept = connection.execute(query, {"name": name}).scalar()
    return bcrypt.checkpw(password.encode(), (kept or NOBODYS_HASH).encode()) and kept is not None


@app.post("/token")
def log_in(request: Request, form: OAuth2PasswordRequestForm = Depends()) -> dict:
    name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", form.username).casefold())[:200]
    address = request.client.host
    keys: list[tuple] = [("both", name, address), ("name", name), ("address", address)]
    guesses.begin(keys)
    good = False
    try:
        good = verify(form.username, form.password)
    finally:
        guesses.end(keys, good)
    if not good:
        raise HTTPException(401, "Wrong name or password.", {"WWW-Authenticate": "Bearer"})
    now = int(time.time())
    token = jwt.encode({"sub": form.username, "iat": now, "exp": now + 900, **NAMES}, os.environ["JWT_SECRET"])
    return {"access_token": token, "token_type": "bearer"}


# %%
check("5.4")

# %% [markdown]
# ## Prove
#
# The checks above are one proof. Here is another: Mallory's own attacks, on Larkspur and on your code. Run this after
# any change. `serve("5.2")` serves the cell of that exercise as you last ran it. A crash is no defence, so an attack
# that ends in one is shown as what it is.

# %%
larkspur = serve(alone(), "larkspur")
rounds = [
    (be_somebody_else, larkspur, "5.2"),
    (meet_the_edge, larkspur, "5.3"),
    (ask_at_once, shared, "5.3"),
    (guess_adas_password, larkspur, "5.4"),
    (lock_ada_out, larkspur, "5.4"),
]


def outcome(attack, target):
    before = getattr(target, "crashes", 0)
    got_in = attack(target)
    return "CRASHED" if getattr(target, "crashes", 0) > before else "got in" if got_in else "blocked"


# %%
print(f"{'attack':22}{'on Larkspur':14}on yours")
for attack, flawed, number in rounds:
    print(f"{attack.__name__:22}{outcome(attack, flawed):14}{outcome(attack, serve(number, 'yours'))}")
for attack in [fill_the_memory]:
    print(f"{attack.__name__:22}{outcome(attack, ChecklistLimiter):14}{outcome(attack, MendedLimiter)}")

# %% [markdown]
# And the picture again, with three instances of yours.

# %%
yours = [serve("5.3", f"yours {n}") for n in range(3)]
with redis_server.door.in_step():
    draw_crowds(crowds | {"Redis,\nyours": at_once(yours)})

# %% [markdown]
# ## Apply
#
# Your own app, line by line. Copy what you cannot tick into your issue tracker.
#
# - [ ] Every path has a limit, also those that answer 404 and 422; only health checks have none (ASVS 5.0 2.4.1,
#   API4:2023).
# - [ ] The client's address comes from a proxy that *we* named; what clients write into headers is ignored (ASVS 5.0
#   15.3.4, CWE-348). uvicorn runs with `--forwarded-allow-ips` set to that proxy, or with `--no-proxy-headers`.
# - [ ] An IPv6 /64 counts as one client (RFC 4291 §2.5.4).

# %% [markdown]
# - [ ] All instances share one count, and look and count are one step (ASVS 5.0 15.4.2, CWE-367).
# - [ ] Every key expires, and no key holds a secret (CWE-772, CWE-312).
# - [ ] Without the counter the app is closed, soon and with 503; `/health` is not (ASVS 5.0 16.5.3, 13.2.6).
# - [ ] 429 and 503 say `Retry-After` (RFC 6585 §4, RFC 9110 §10.2.3).

# %% [markdown]
# - [ ] Failed logins are limited by name *and* address, by name, and by address (ASVS 5.0 6.3.1, CWE-307).
# - [ ] No number of guesses locks an owner out, and it is written down why (ASVS 5.0 6.1.1, CWE-645;
#   NIST SP 800-63B-4 §3.2.2 would stop at 100).
# - [ ] A limit never tells who is a member (ASVS 5.0 6.3.8).
# - [ ] Somebody has tried it: at the edge of a window, and all at once.

# %%
progress()
