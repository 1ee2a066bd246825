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
    lock   {path, seconds}                                     → {port: null, pid}  others wait until it is stopped
    sweep  {}                                                  → {clean}  kills every run, empties every folder
    look   {hidden}                                            → {faults}  what a run could see, but must not

`zygote.py --once` answers a single start or call in its own process, for systems without fork.
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
REPORT_BYTES = 16 * 1024 * 1024
TROUBLE_CHARACTERS = 4000
LOCK_SECONDS = 3  # less than the 5 for which Python's sqlite3 waits by default
TOO_SLOW = "The cell was still running when its time was up."
ENDED = "The process ended before it answered."
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
CLONE_NEWUSER = 0x10000000
OUTSIDE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))  # addresses for documentation
WARM = (
    "fastapi uvicorn httpx jose.jwt passlib.context passlib.handlers.argon2 argon2 bcrypt jwt pwdlib sqlalchemy "
    "joserfc.jwt itsdangerous starlette.middleware.sessions authlib.integrations.starlette_client "
    "fastapi.security multipart email_validator uvicorn.protocols.http.h11_impl uvicorn.lifespan.on"
)

Message = dict[str, Any]


class Run:
    """One forked child: its pid, what it printed, and the request that waits for its report of `wanted`."""

    def __init__(self, n: int, wanted: str, pid: int, deadline: float, port: int | None) -> None:
        self.n, self.wanted, self.pid, self.deadline, self.port = n, wanted, pid, deadline, port
        self.waiting = True
        self.report = bytearray()
        self.output = bytearray()
        self.code: int | None = None

    def kill(self) -> None:
        """End the child and its process group, which it may have left."""
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)

    def told(self) -> Message | None:
        """The report, or None if it is none: what an answer's process writes may be anything."""
        try:
            report = json.loads(self.report)
        except (ValueError, RecursionError):
            return None
        if isinstance(report, dict) and isinstance(report.get("trouble"), str):
            return {"trouble": report["trouble"], "slow": False}
        if not isinstance(report, dict) or self.wanted not in report:
            return None
        if self.wanted in ("started", "locked"):
            return {"port": self.port, "pid": self.pid}
        return {self.wanted: report[self.wanted]}


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
        self.lying_about = self.writable()

    def serve(self) -> None:
        """Answer requests until stdin closes."""
        self.reply(0, ready=True)
        while True:
            self.turn(0.5)

    def turn(self, seconds: float, listen: bool = True) -> None:
        """Handle what is readable now; `listen=False` leaves requests alone."""
        # What a run reported before it ended is read in this turn, so none that ended earlier still has to report.
        ended = {run for run in self.runs.values() if run.code is not None}
        seconds = 0 if any(run.waiting for run in ended) else seconds
        # Requests come last: they take turns of their own, after which the other keys may be stale.
        for key, _ in sorted(self.selector.select(seconds), key=lambda ready: ready[0].fd == 0):
            if listen or key.fd != 0:
                key.data(key.fd)
        self.reap()
        now = time.monotonic()
        for run in list(self.runs.values()):
            if run.waiting and (run in ended or now > run.deadline):
                self.give_up(run, slow=run.code is None)

    def read_requests(self, fd: int) -> None:
        data = os.read(fd, 1 << 20)
        if not data:
            self.sweep()
            os._exit(0)
        *lines, self.requests = (self.requests + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            try:
                getattr(self, "do_" + request.pop("op"))(**request)
            except OSError as error:  # no room for another process or file
                self.reply(request["n"], trouble=f"The answer left no room to go on: {error.strerror}.", slow=False)

    def reply(self, n: int, **fields: Any) -> None:
        data = memoryview(json.dumps({"n": n, **fields}).encode() + b"\n")
        while data:
            data = data[self.replies.write(data) or 0 :]

    # Requests

    def do_start(self, n: int, source: str, title: str, env: dict[str, str], folder: str, seconds: float) -> None:
        with listening() as listener:
            serve = lambda report: serve_cell(source, title, listener, report)  # noqa: E731
            self.fork(n, "started", serve, env, folder, seconds, listener.getsockname()[1])

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
        self.fork(n, "value", call, env, folder, seconds)

    def do_sql(self, n: int, path: str, statement: str, parameters: list[Any], seconds: float) -> None:
        self.fork(n, "rows", lambda report: report(query(path, statement, parameters)), {}, ".", seconds)

    def do_lock(self, n: int, path: str, seconds: float) -> None:
        self.fork(n, "locked", lambda report: lock(path, report), {}, ".", seconds)

    def do_stop(self, n: int, pid: int, grace: float) -> None:
        run = self.runs[pid]
        deadline = time.monotonic() + grace
        if grace and run.code is None:
            os.kill(pid, signal.SIGTERM)  # not reaped yet, so the number is still its own
        while run.code is None and time.monotonic() < deadline:
            self.turn(0.01, listen=False)
        run.kill()
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
            with open(target / name, "wb", opener=unblocked) as file:
                file.write(base64.b64decode(content))
        self.reply(n)

    def do_read(self, n: int, folder: str) -> None:
        files, left = {}, READ_BYTES
        for path in regular_files(self.root / folder):
            with contextlib.suppress(OSError), open(path, "rb", opener=unblocked) as file:
                content = file.read(left)
                left -= len(content)
                files[path.relative_to(self.root / folder).as_posix()] = base64.b64encode(content).decode()
        self.reply(n, files=files)

    def do_sweep(self, n: int) -> None:
        self.sweep()
        self.reply(n, clean=self.writable() == self.lying_about)

    def do_look(self, n: int, hidden: list[str]) -> None:
        self.fork(n, "faults", lambda report: report({"faults": faults(hidden)}), {}, ".", 10)

    # Runs

    def fork(
        self,
        n: int,
        wanted: str,
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
                os.close(report_read)
                os.close(output_read)
                self.become_child(output_write, env, self.root / folder)
                # Its own memory is open to an answer, but not that of whoever reads the database.
                set_process_flag(PR_SET_DUMPABLE, int(wanted in ("started", "value")))
                job(reporter(report_write))
            except BaseException as error:
                traceback.print_exception(error)
            finally:
                flush()
                os._exit(0)
        os.close(report_write)
        os.close(output_write)
        run = self.runs[pid] = Run(n, wanted, pid, time.monotonic() + seconds, port)
        for fd, handle in ((report_read, self.read_report), (output_read, self.read_output)):
            os.set_blocking(fd, False)
            self.selector.register(fd, selectors.EVENT_READ, lambda fd, run=run, handle=handle: handle(fd, run))

    def become_child(self, output: int, env: dict[str, str], folder: Path) -> None:
        os.setsid()
        set_process_flag(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.close(nothing)
        os.close(output)
        # By line: what an answer prints must be there to read while it serves, not only if it exits well.
        sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
        for key in list(self.selector.get_map().values()):
            if key.fd != 0:
                os.close(key.fd)
        self.selector.close()
        self.replies.close()
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
        whole = run.report.endswith(b"\n") or not data or len(run.report) > REPORT_BYTES
        if not run.waiting or not whole:
            return
        if report := run.told():
            run.waiting = False
            self.reply(run.n, **report)
        else:
            run.kill()

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
        run.kill()
        self.turn(0, listen=False)
        printed = run.output.decode(errors="replace")[-TROUBLE_CHARACTERS:].strip()
        self.reply(run.n, trouble=printed or (TOO_SLOW if slow else ENDED), slow=slow)

    def sweep(self) -> None:
        while self.kill_everybody():
            self.reap()
        for key in [key for key in self.selector.get_map().values() if key.fd != 0]:
            self.selector.unregister(key.fd)
            os.close(int(key.fd))
        self.runs.clear()
        with contextlib.suppress(OSError):
            for path in self.root.iterdir():
                remove(path)

    def writable(self) -> set[str] | None:
        """All that lies where a run can write; None when that cannot be told."""
        folders = [self.root, *map(Path, ("/tmp", "/dev/shm") if self.jailed else ())]  # noqa: S108
        try:
            return {str(path) for folder in folders for path in folder.iterdir()}
        except OSError:
            return None

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


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as it lets itself be removed."""
    with contextlib.suppress(OSError, RecursionError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def unblocked(path: str, flags: int) -> int:
    """Open a file that an answer may have made a pipe or a link."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0), 0o600)


def listening() -> socket.socket:
    """A free port on loopback."""
    # Given its protocol number, or asyncio leaves TCP_NODELAY off and every request stalls for 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    return listener


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
        with contextlib.suppress(SystemExit):  # the app's own startup failed, as uvicorn has printed
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
        report({"locked": True})
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

    limits = {
        "RLIMIT_AS": 4 << 30,
        "RLIMIT_CPU": 120,
        "RLIMIT_FSIZE": 64 << 20,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 1024,
    }
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # macOS knows some of them by name only
            resource.setrlimit(getattr(resource, name), (value, value))


def faults(hidden: list[str]) -> list[str]:
    """What a run in here could see or do, but must not."""
    found = [f"{path} can be seen" for path in hidden if os.path.lexists(path)]
    found += [f"{path} can be read" for path in ("/etc/shadow", "/proc/1/environ") if os.access(path, os.R_OK)]
    found += [f"{address} can be reached" for family, address in OUTSIDE if reached(family, address)]
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    right = {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
    found += [f"{name} is {status.get(name)}" for name, value in right.items() if status.get(name) != value]
    if os.getuid() == 0:
        found.append("it runs as root")
    if ctypes.CDLL(None).unshare(CLONE_NEWUSER) == 0:
        found.append("it can make user namespaces")
    return found


def reached(family: int, address: str) -> bool:
    """Whether there is a way to an address. Nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return True
    return False


def once() -> None:
    """Answer one request in this very process."""
    request = json.loads(sys.stdin.readline())
    report = reporter(os.dup(1))
    os.dup2(2, 1)
    if request.pop("op") == "call":
        report(call_cell(**request))
        return
    with listening() as listener:
        port = listener.getsockname()[1]
        serve_cell(**request, listener=listener, report=lambda told: report({"port": port, **told}))


def main() -> None:
    """`zygote.py [--once | --jailed PROCESSES]`"""
    import importlib

    if "--once" in sys.argv:
        once()
        return
    jailed = "--jailed" in sys.argv
    if jailed:
        import resource

        # Inside its user namespace the number counts for this jail alone.
        processes = int(sys.argv[sys.argv.index("--jailed") + 1])
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    # The first process of a jail gets only those signals from inside that it handles.
    signal.signal(signal.SIGINT, signal.SIG_DFL if jailed else signal.SIG_IGN)
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
