"""The process an answer runs in. It imports the web stack once and forks a child for each run.

It speaks JSON lines: a request on stdin, one reply on stdout. `n` ties a reply to its request.

    start  {source, title, env, folder, seconds, tls}         → {port, pid} or {trouble, slow}
    run    {command, env, folder}                              → {port: null, pid}  a program, which may end at once
    call   {source, title, env, folder, seconds, function, arguments, driver} → {value} or {trouble, slow, ran}
    stop   {pid, grace}                                        → {code, output}
    kill   {pid}                                               → {}  without waiting until it has ended
    output {pid}                                               → {code, output}
    peak   {pid}                                               → {bytes}  the most memory that a run has held
    write  {folder, files: {name: base64}}                     → {}
    read   {folder}                                            → {files: {name: base64}}
    sql    {path, statement, parameters, seconds}              → {rows} or {trouble}
    lock   {path, seconds}                                     → {port: null, pid}  others wait until it is stopped
    sweep  {}                                                  → {clean}  kills every run, empties every folder
    look   {hidden}                                            → {faults}  what a run could see, but must not

`--once` answers a single start or call in its own process, for systems without fork.
"""

import base64
import contextlib
import gc
import json
import os
import random
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .cell import TROUBLE_CHARACTERS, call_cell, reporter, run_program, serve_cell
from .clerk import Clerk, work
from .files import lock, regular_files, remove, unblocked
from .look import faults
from .process import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    descendants,
    limit_resources,
    peak_memory,
    set_process_flag,
)
from .run import ENDED, OUTPUT_BYTES, REPORT_BYTES, TOO_SLOW, Message, Run
from .server import listening
from .warm import warm

READ_BYTES = 32 * 1024 * 1024
GLANCE_SECONDS = 0.001  # between two looks whether a run that is to end has ended


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
        self.clerk: Clerk | None = None
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

    def do_start(
        self, n: int, source: str, title: str, env: dict[str, str], folder: str, seconds: float, tls: list[str]
    ) -> None:
        with listening() as listener:
            serve = lambda report: serve_cell(source, title, listener, report, tls)  # noqa: E731
            self.fork(n, "started", serve, env, folder, seconds, listener.getsockname()[1])

    def do_run(self, n: int, command: list[str], env: dict[str, str], folder: str) -> None:
        self.fork(n, "started", lambda report: run_program(command, report), env, folder, 10)

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
        driver: str,
    ) -> None:
        call = lambda report: report(call_cell(source, title, function, arguments, driver))  # noqa: E731
        self.fork(n, "value", call, env, folder, seconds)

    def do_sql(self, n: int, path: str, statement: str, parameters: list[Any], seconds: float) -> None:
        self.clerk = clerk = self.clerk or self.hire()
        deadline = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            clerk.ask(path=path, statement=statement, parameters=parameters)
        while self.clerk and not clerk.reply() and (left := deadline - time.monotonic()) > 0:
            self.turn(left, listen=False)
        slow = self.clerk is not None
        if not (reply := clerk.reply()):
            self.dismiss()
        self.reply(n, **(reply or {"trouble": TOO_SLOW if slow else ENDED, "slow": slow}))

    def do_lock(self, n: int, path: str, seconds: float) -> None:
        self.fork(n, "locked", lambda report: lock(path, report), {}, ".", seconds)

    def do_stop(self, n: int, pid: int, grace: float) -> None:
        run = self.runs[pid]
        deadline = time.monotonic() + grace
        if grace and run.code is None:
            os.kill(pid, signal.SIGTERM)  # not reaped yet, so the number is still its own
        while run.code is None and time.monotonic() < deadline:
            self.turn(GLANCE_SECONDS, listen=False)
        run.kill()
        while run.code is None:
            self.turn(GLANCE_SECONDS, listen=False)
        self.do_output(n, pid)

    def do_kill(self, n: int, pid: int) -> None:
        if self.runs[pid].code is None:
            self.runs[pid].kill()
        self.reply(n)

    def do_output(self, n: int, pid: int) -> None:
        self.turn(0, listen=False)
        run = self.runs[pid]
        self.reply(n, code=run.code, output=run.output.decode(errors="replace"))

    def do_peak(self, n: int, pid: int) -> None:
        self.reply(n, bytes=peak_memory(pid))

    def do_write(self, n: int, folder: str, files: dict[str, str]) -> None:
        target = self.root / folder
        target.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
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

    def hire(self) -> Clerk:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                self.become_child(os.open(os.devnull, os.O_WRONLY), {}, self.root)
                set_process_flag(PR_SET_DUMPABLE, 0)  # an answer is not to read or write its memory
                work(theirs)
            finally:
                os._exit(0)
        theirs.close()
        clerk = Clerk(pid, ours)
        self.selector.register(ours, selectors.EVENT_READ, self.read_clerk)
        return clerk

    def read_clerk(self, fd: int) -> None:
        if self.clerk and not self.clerk.read():
            self.dismiss()

    def dismiss(self) -> None:
        if self.clerk:
            self.selector.unregister(self.clerk.line)
            self.clerk.line.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.clerk.pid, signal.SIGKILL)
        self.clerk = None

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
                # Its own memory is open to an answer, but not that of whoever works for the checks.
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
        self.dismiss()
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


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


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
    """`[--once | --jailed PROCESSES]`"""
    del sys.path[0]  # where this package was found; an answer is to find nothing there
    os.umask(0o022)  # what servers have, and not what keeps an answer's private keys private by luck
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
    warm()
    gc.freeze()
    Zygote(jailed).serve()
