"""A Redis for checks and notebooks: a real redis-server where there is one, else the embedded fakeredis.

Both run as a process of their own. The embedded one executes Lua with Python's own rights (`return python.eval(…)`),
and a redis-server before 7 lets anybody say where its files go: for answers that are not to be trusted, it is jailed.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import redis

from lab_app.runner import jail
from lab_app.runner.limits import Limits
from lab_app.runner.services.redis_door import Door

WAIT_SECONDS = 20
MEMORY = 512 << 20
# It ends with whoever started it, however that ends.
DIE_WITH_PARENT = "import sys, ctypes\nif sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 9)\n"
REAL = f"{DIE_WITH_PARENT}import os; os.execv(sys.argv[1], sys.argv[1:])"
EMBEDDED = f"""{DIE_WITH_PARENT}
from fakeredis import TcpFakeServer
TcpFakeServer.daemon_threads = True
TcpFakeServer(("127.0.0.1", int(sys.argv[1]))).serve_forever()"""


class RedisTrouble(Exception):
    """No Redis came up; the text says why."""


class Redis:
    """Start it, give its `url` to an app, and look at what the app stored. `given`: the URL of one that runs already.

    Nothing is kept on disk: after `stop` and `start` it has the same address and is empty.
    """

    def __init__(self, kind: str = "", jailed: bool = False, given: str = "") -> None:
        self.kind = kind or ("real" if shutil.which("redis-server") else "embedded")
        self.jailed, self.given = jailed, given
        self.place = urlsplit(given or f"redis://127.0.0.1:{free_port()}/0")
        self.process: subprocess.Popen[bytes] | None = None
        self.client: redis.Redis = redis.Redis.from_url(self.place.geturl(), decode_responses=True, socket_timeout=5)
        self.door = Door((self.place.hostname or "127.0.0.1", self.place.port or 6379))

    @property
    def url(self) -> str:
        """What an app finds in REDIS_URL: the way through the door."""
        user, at, _ = self.place.netloc.rpartition("@")
        return self.place._replace(netloc=f"{user}{at}127.0.0.1:{self.door.port}").geturl()

    def start(self) -> "Redis":
        """Run, and open the door. Raises RedisTrouble."""
        if not self.given:
            self._move()
            self.process = self._spawn()
        self._await()
        self.door.open()
        return self

    def stop(self) -> None:
        """Shut the door and end the process; all that was stored is gone."""
        self.door.shut()
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, 9)
            self.process.communicate()
            self.process = None
        elif self.given:
            self.client.script_flush()
            self.flush()
        self.client.close()

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self.door.close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Meanwhile there is no Redis; afterwards there is an empty one at the same address."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def running(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def flush(self) -> None:
        """Forget everything."""
        self.client.flushdb()

    def keys(self) -> list[str]:
        """The names of all keys."""
        return sorted(self.client.scan_iter(count=1000))

    def ttl(self, key: str) -> float:
        """How many seconds a key has left; below 0 if it stays for ever."""
        left = self.client.pttl(key)
        return left / 1000 if left >= 0 else -1

    def _move(self) -> None:
        """Take a new port behind the door: for the one before, somebody may wait to answer in its place."""
        self.client.close()
        self.place = self.place._replace(netloc=f"127.0.0.1:{free_port()}")
        self.client = redis.Redis.from_url(self.place.geturl(), decode_responses=True, socket_timeout=5)
        self.door.behind = ("127.0.0.1", self.place.port or 0)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        port = str(self.place.port)
        options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--databases", "1"]
        server = [shutil.which("redis-server") or "redis-server", *options]
        tail = [REAL, *server] if self.kind == "real" else [EMBEDDED, port]
        program = [sys.executable, "-I", "-c", *tail]
        if self.jailed:
            return jail.spawn(Limits(jail_memory=MEMORY), program)
        return subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=tempfile.gettempdir(),
            start_new_session=True,
        )

    def _await(self) -> None:
        until = time.monotonic() + WAIT_SECONDS
        while not self.running():
            if self.process and self.process.poll() is not None:
                words = self.process.communicate()[1].decode(errors="replace").strip()
                raise RedisTrouble(f"Redis ({self.kind}) did not start: {words.splitlines()[-1:]}")
            if time.monotonic() > until:
                self.stop()
                raise RedisTrouble(f"Redis ({self.kind}) did not answer within {WAIT_SECONDS} s.")
            time.sleep(0.01)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redis_for(jailed: bool = False) -> Redis:
    """The Redis that REDIS_URL names, if it answers and holds nothing that could be lost; else one of our own."""
    if given := os.environ.get("REDIS_URL", ""):
        with suppress(redis.RedisError, ValueError), redis.Redis.from_url(given, socket_timeout=1) as there:
            if given.startswith("redis://") and there.dbsize() == 0:
                return Redis(given=given).start()
    return Redis(jailed=jailed).start()
