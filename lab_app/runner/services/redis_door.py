"""The door to a Redis: a proxy that can put commands in step, fall silent, or shut.

Whether two requests get in each other's way is a matter of microseconds. In step it is certain: every connection may
send one command (or one MULTI … EXEC), then all wait until nobody has another one to send, then the next. Whoever
reads first and writes later reads what all the others read.
"""

import asyncio
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

QUIET_SECONDS = 0.04  # so long must nobody send anything before all take their next step
QUICK_SECONDS = 0.01  # enough, if nearly all of a crowd are there again
CROWD = 6
MOST_SECONDS = 0.2  # nobody waits longer, or clients with short timeouts would give up
LIMIT = 1 << 20


class Door:
    """Listens on 127.0.0.1, the same port after every `open`, and passes on to the Redis at host and port `behind`."""

    def __init__(self, behind: tuple[str, int]) -> None:
        self.behind, self.port = behind, 0
        self.loop = asyncio.new_event_loop()
        self.server: asyncio.Server | None = None
        self.visits: set[asyncio.Task[None]] = set()
        self.waiting: list[asyncio.Future[None]] = []
        self.stepping, self.first, self.last = False, 0.0, 0.0
        self.speaking = asyncio.Event()
        self.speaking.set()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def open(self) -> None:
        """Let visitors in. Raises OSError."""
        self._do(self._open())

    def shut(self) -> None:
        """Hang up on everybody, and let nobody in."""
        self._do(self._shut())

    def close(self) -> None:
        """Shut for good."""
        self.shut()
        self.loop.call_soon_threadsafe(self.loop.stop)

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """Meanwhile connections take turns, one command each."""
        self.stepping = True
        steps = asyncio.run_coroutine_threadsafe(self._step(), self.loop)
        try:
            yield
        finally:
            self.stepping = False
            steps.result()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Meanwhile whoever knocks is let in and hears nothing; afterwards all must knock again."""
        self.loop.call_soon_threadsafe(self.speaking.clear)
        try:
            yield
        finally:
            self.shut()
            self.loop.call_soon_threadsafe(self.speaking.set)
            self.open()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def _open(self) -> None:
        self.server = await asyncio.start_server(self._visit, "127.0.0.1", self.port, limit=LIMIT, backlog=512)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self.server:
            self.server.close()
        for visit in self.visits:
            visit.cancel()
        await asyncio.gather(*self.visits, return_exceptions=True)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit, ends, ways = asyncio.current_task(), [writer], []
        assert visit
        self.visits.add(visit)
        try:
            behind_reader, behind = await asyncio.open_connection(*self.behind, limit=LIMIT)
            ends.append(behind)
            ways = [self.loop.create_task(self._commands(reader, behind))]
            ways += [self.loop.create_task(self._answers(behind_reader, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):  # nobody is behind the door, or it was shut
            pass
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in ends:
                end.transport.abort()
            self.visits.discard(visit)

    async def _commands(self, reader: asyncio.StreamReader, behind: asyncio.StreamWriter) -> None:
        whole = False
        with suppress(asyncio.IncompleteReadError, ValueError):
            while command := await next_command(reader):
                await self.speaking.wait()
                if self.stepping and not whole:
                    await self._turn()
                behind.write(command)
                await behind.drain()
                whole = (whole or named(command, b"MULTI")) and not named(command, b"EXEC", b"DISCARD")

    async def _turn(self) -> None:
        self.last = self.loop.time()
        self.first = self.first if self.waiting else self.last
        self.waiting.append(self.loop.create_future())
        await self.waiting[-1]

    async def _answers(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await behind.read(LIMIT):
            await self.speaking.wait()
            writer.write(data)
            await writer.drain()

    async def _step(self) -> None:
        before = sys.maxsize
        while self.stepping or self.waiting:
            await asyncio.sleep(QUICK_SECONDS / 4)
            now = self.loop.time()
            quiet = QUICK_SECONDS if len(self.waiting) >= max(CROWD, 0.8 * before) else QUIET_SECONDS
            if not self.stepping or now - self.last > quiet or now - self.first > MOST_SECONDS:
                released, self.waiting = self.waiting, []
                before = len(released)
                for turn in released:
                    if not turn.done():
                        turn.set_result(None)


async def next_command(reader: asyncio.StreamReader) -> bytes:
    """One command as it came in (https://redis.io/docs/latest/develop/reference/protocol-spec/); b"" after the last.

    Raises IncompleteReadError and ValueError.
    """
    parts = [await reader.readline()]
    if parts[0].startswith(b"*"):
        left = LIMIT
        for _ in range(int(parts[0][1:])):
            size = await reader.readline()
            left -= len(size) + abs(int(size[1:]))
            if left < 0:
                raise ValueError("a command that is too long to be kept")
            parts += [size, await reader.readexactly(int(size[1:]) + 2)]
    return b"".join(parts)


def named(command: bytes, *names: bytes) -> bool:
    """Whether it is one of these commands."""
    return any(command[:40].upper().endswith(b"\r\n" + name + b"\r\n") for name in names)
