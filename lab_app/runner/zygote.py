"""The process an answer runs in. It imports the web stack once and forks a child for each run.

The file is run by its path, inside the jail or beside it, and so imports nothing of ours.
It speaks JSON lines: a request on stdin, one reply on stdout. `n` ties a reply to its request.

    start  {source, title, env, folder, seconds}              → {port, pid} or {trouble, slow}
    call   {source, title, env, folder, seconds, function, arguments} → {value} or {trouble, slow}
    stop   {pid, grace}                                        → {code, output}
    output {pid}                                               → {code, output}
    write  {folder, files: {name: base64}}                     → {}
    read   {folder}                                            → {files: {name: base64}}
    sql    {path, statement, parameters, seconds}              → {rows} or {trouble}
    lock   {path, seconds}                                     → {port: null, pid}   others wait until it is stopped
    sweep  {}                                                  → {}   kills every run, empties every folder
"""

import base64
import contextlib
import ctypes
import gc
import json
import linecache
import os
import random
import selectors
import shutil
import signal
import socket
import sqlite3
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

OUTPUT_BYTES = 256 * 1024
READ_BYTES = 32 * 1024 * 1024
TROUBLE_CHARACTERS = 4000
LOCK_SECONDS = 3  # less than the 5 for which Python's sqlite3 waits by default
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36
WARM = (
    "fastapi uvicorn httpx jose.jwt passlib.context passlib.handlers.argon2 argon2 bcrypt jwt pwdlib sqlalchemy "
    "joserfc.jwt itsdangerous starlette.middleware.sessions authlib.integrations.starlette_client "
    "fastapi.security multipart email_validator uvicorn.protocols.http.h11_impl uvicorn.lifespan.on"
)

Message = dict[str, Any]


class Run:
    """One forked child: its pid, what it printed, and the request that waits for its report."""

    def __init__(self, n: int, pid: int, deadline: float, port: int | None) -> None:
        self.n, self.pid, self.deadline, self.port = n, pid, deadline, port
        self.waiting = True
        self.report = b""
        self.output = bytearray()
        self.code: int | None = None


class Zygote:
    """Reads requests, forks runs, drains what they print, and answers."""

    def __init__(self, jailed: bool) -> None:
        self.jailed = jailed
        self.root = Path.cwd()
        self.replies = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self.requests = b""
        self.runs: dict[int, Run] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(0, selectors.EVENT_READ, self.read_requests)

    def serve(self) -> None:
        """Answer requests until stdin closes."""
        self.reply(0, ready=True)
        while True:
            self.turn(0.5)

    def turn(self, seconds: float, listen: bool = True) -> None:
        """Handle what is readable now; `listen=False` leaves requests alone."""
        self.reap()
        # Listed before their pipes are read: whoever ends later may have a report in there that nobody has read.
        ended = [run for run in self.runs.values() if run.waiting and run.code is not None]
        for key, _ in self.selector.select(0 if ended else seconds):
            # A handler may stop a run, and thereby close a pipe that this list still holds.
            if (listen or key.fd != 0) and self.selector.get_map().get(key.fd) is key:
                key.data(key.fd)
        self.reap()
        now = time.monotonic()
        late = [run for run in self.runs.values() if now > run.deadline and run not in ended]
        for run in ended + late:
            if run.waiting:
                self.give_up(run, slow=run in late)

    def read_requests(self, fd: int) -> None:
        data = os.read(fd, 1 << 20)
        if not data:
            self.sweep()
            os._exit(0)
        *lines, self.requests = (self.requests + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            getattr(self, "do_" + request.pop("op"))(**request)

    def reply(self, n: int, **fields: Any) -> None:
        data = memoryview(json.dumps({"n": n, **fields}).encode() + b"\n")
        while data:
            data = data[self.replies.write(data) or 0 :]

    # Requests

    def do_start(self, n: int, source: str, title: str, env: dict[str, str], folder: str, seconds: float) -> None:
        # Given its protocol number, or asyncio leaves TCP_NODELAY off and every request stalls for 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        with listener:
            serve = lambda report: serve_cell(source, title, listener, report)  # noqa: E731
            self.fork(n, serve, env, folder, seconds, listener.getsockname()[1])

    def do_call(
        self,
        n: int,
        source: str,
        title: str,
        env: dict[str, str],
        folder: str,
        seconds: float,
        function: str,
        arguments: Message,
    ) -> None:
        call = lambda report: report(call_cell(source, title, function, arguments))  # noqa: E731
        self.fork(n, call, env, folder, seconds)

    def do_sql(self, n: int, path: str, statement: str, parameters: list[Any], seconds: float) -> None:
        self.fork(n, lambda report: report(query(path, statement, parameters)), {}, ".", seconds)

    def do_lock(self, n: int, path: str, seconds: float) -> None:
        self.fork(n, lambda report: lock(path, report), {}, ".", seconds)

    def do_stop(self, n: int, pid: int, grace: float) -> None:
        run = self.runs[pid]
        deadline = time.monotonic() + grace
        if grace and run.code is None:
            os.kill(pid, signal.SIGTERM)
        while run.code is None and time.monotonic() < deadline:
            self.turn(0.01, listen=False)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        while run.code is None:
            self.turn(0.01, listen=False)
        self.do_output(n, pid)

    def do_output(self, n: int, pid: int) -> None:
        self.turn(0, listen=False)
        run = self.runs[pid]
        self.reply(n, code=run.code, output=run.output.decode(errors="replace"))

    def do_write(self, n: int, folder: str, files: dict[str, str]) -> None:
        target = self.root / folder
        target.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (target / name).write_bytes(base64.b64decode(content))
        self.reply(n)

    def do_read(self, n: int, folder: str) -> None:
        files, left = {}, READ_BYTES
        for path in regular_files(self.root / folder):
            with contextlib.suppress(OSError), path.open("rb") as file:
                content = file.read(left)
                left -= len(content)
                files[path.relative_to(self.root / folder).as_posix()] = base64.b64encode(content).decode()
        self.reply(n, files=files)

    def do_sweep(self, n: int) -> None:
        self.sweep()
        self.reply(n)

    # Runs

    def fork(
        self,
        n: int,
        job: Callable[[Callable[[Message], None]], None],
        env: dict[str, str],
        folder: str,
        seconds: float,
        port: int | None = None,
    ) -> None:
        report_read, report_write = os.pipe()
        output_read, output_write = os.pipe()
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        pid = os.fork()
        if pid == 0:
            try:
                self.become_child(output_write, env, self.root / folder)
                job(reporter(report_write))
            except BaseException as error:
                traceback.print_exception(error)
            finally:
                flush()
                os._exit(0)
        os.close(report_write)
        os.close(output_write)
        run = self.runs[pid] = Run(n, pid, time.monotonic() + seconds, port)
        for fd, handle in ((report_read, self.read_report), (output_read, self.read_output)):
            os.set_blocking(fd, False)
            self.selector.register(fd, selectors.EVENT_READ, lambda fd, run=run, handle=handle: handle(fd, run))

    def become_child(self, output: int, env: dict[str, str], folder: Path) -> None:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for key in list(self.selector.get_map().values()):
            if key.fd != 0:
                os.close(key.fd)
        self.selector.close()
        self.replies.close()
        set_process_flag(PR_SET_DUMPABLE, 1)
        limit_resources()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(env)
        time.tzset()
        random.seed()

    def read_output(self, fd: int, run: Run) -> None:
        data = self.read_pipe(fd)
        run.output += data[: max(0, OUTPUT_BYTES - len(run.output))]

    def read_report(self, fd: int, run: Run) -> None:
        data = self.read_pipe(fd)
        run.report += data
        if data and not run.report.endswith(b"\n"):
            return
        if run.waiting and run.report.endswith(b"\n"):
            run.waiting = False
            report = json.loads(run.report)
            if report.pop("started", False):
                report = {"port": run.port, "pid": run.pid}
            self.reply(run.n, **report)
        elif run.waiting:
            os.kill(run.pid, signal.SIGKILL)

    def read_pipe(self, fd: int) -> bytes:
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return b""
        if not data:
            self.selector.unregister(fd)
            os.close(fd)
        return data

    def reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] in self.runs:
                    self.runs[ended[0]].code = os.waitstatus_to_exitcode(ended[1])

    def give_up(self, run: Run, slow: bool) -> None:
        run.waiting = False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        self.turn(0, listen=False)
        printed = run.output.decode(errors="replace")[-TROUBLE_CHARACTERS:].strip()
        ended = "The cell was still running when its time was up." if slow else "The process ended before it served."
        self.reply(run.n, trouble=printed or ended, slow=slow)

    def sweep(self) -> None:
        while self.kill_everybody():
            self.reap()
        for key in [key for key in self.selector.get_map().values() if key.fd != 0]:
            self.selector.unregister(key.fd)
            os.close(int(key.fd))
        self.runs.clear()
        for path in self.root.iterdir():
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                path.unlink()

    def kill_everybody(self) -> bool:
        """Kill all below this process; True while somebody may be left."""
        if self.jailed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        for pid in descendants(os.getpid()) | {run.pid for run in self.runs.values() if run.code is None}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED)
            return True
        return False


def descendants(pid: int) -> set[int]:
    """The processes below `pid`, as Linux tells them; elsewhere none."""
    found: set[int] = set()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                found |= {child} | descendants(child)
    return found


def regular_files(folder: Path) -> Iterator[Path]:
    """Every file in a folder that is no link, in a stable order."""
    for parent, _, names in sorted(os.walk(folder)):
        for path in (Path(parent) / name for name in sorted(names)):
            if path.is_file() and not path.is_symlink():
                yield path


def reporter(fd: int) -> Callable[[Message], None]:
    """A function that sends one report to the zygote and closes the way to it."""

    def report(message: Message) -> None:
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(message).encode() + b"\n")

    return report


def run_cell(source: str, title: str) -> dict[str, Any]:
    """Execute a cell as `__main__`, as the notebook does; its names."""
    filename = f"<{title}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(source, filename, "exec"), module.__dict__)  # the learner's own code: running it is the task
    return module.__dict__


def trouble_of(error: BaseException, title: str) -> str:
    """A traceback that shows the cell's own lines only."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == f"<{title}>"]
    lines = traceback.format_list(frames) + traceback.format_exception_only(error)
    return "".join(lines)[-TROUBLE_CHARACTERS:]


def serve_cell(source: str, title: str, listener: socket.socket, report: Callable[[Message], None]) -> None:
    """Execute a cell and serve its `app` by uvicorn until the process is stopped."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                report({"started": True})

    try:
        names = run_cell(source, title)
        if not callable(names.get("app")):
            report({"trouble": "The cell defines no `app`.", "slow": False})
            return
        # Proxy headers off: who the client is stays the answer's own decision.
        config = uvicorn.Config(
            names["app"],
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            loop="asyncio",
            http="h11",
            ws="none",
            timeout_graceful_shutdown=2,
        )
        Server(config).run(sockets=[listener])
    except BaseException as error:
        with contextlib.suppress(OSError):  # it had started, and reported that already
            report({"trouble": trouble_of(error, title), "slow": False})


def call_cell(source: str, title: str, function: str, arguments: Message) -> Message:
    """Execute a cell and call one of its functions; the value must be JSON."""
    try:
        value = run_cell(source, title)[function](**arguments)
        json.dumps(value)
        return {"value": value}
    except BaseException as error:
        return {"trouble": trouble_of(error, title), "slow": False}


def query(path: str, statement: str, parameters: list[Any]) -> Message:
    """Rows of a SQLite file as lists; bytes come as Latin-1 text."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5)) as connection:
            connection.execute("PRAGMA trusted_schema=OFF")
            rows = connection.execute(statement, parameters).fetchmany(10_000)
            connection.commit()
    except sqlite3.Error as error:
        return {"trouble": str(error), "slow": False}
    return {"rows": [[v.decode("latin-1") if isinstance(v, bytes) else v for v in row] for row in rows]}


def lock(path: str, report: Callable[[Message], None]) -> None:
    """Keep all others from writing to a SQLite file until this process is ended, LOCK_SECONDS at most."""
    with contextlib.closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        report({"started": True})
        time.sleep(LOCK_SECONDS)


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def set_process_flag(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def limit_resources() -> None:
    """What one process of an answer may take. The jail's watchdog minds the sum."""
    import resource

    limits = {"RLIMIT_AS": 4 << 30, "RLIMIT_CPU": 120, "RLIMIT_FSIZE": 64 << 20, "RLIMIT_CORE": 0}
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # macOS knows some of them by name only
            resource.setrlimit(getattr(resource, name), (value, value))


def main() -> None:
    """`zygote.py [--jailed PROCESSES]`"""
    import importlib
    import resource

    jailed = "--jailed" in sys.argv
    if jailed:
        # Inside its user namespace the number counts for this jail alone.
        processes = int(sys.argv[sys.argv.index("--jailed") + 1])
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    # Not to be traced, and its memory not to be read, by the runs it forks.
    set_process_flag(PR_SET_DUMPABLE, 0)
    set_process_flag(PR_SET_CHILD_SUBREAPER, 1)
    for name in WARM.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    Zygote(jailed).serve()


if __name__ == "__main__":
    main()
