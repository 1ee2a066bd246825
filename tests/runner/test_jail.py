"""What the jail must hold, tried from inside: every test fails when the option that it names is taken away."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab_app.runner import jail, seccomp
from tests.runner.conftest import LIMITS, Remote, Trouble

ROOT = Path(__file__).resolve().parents[2]
TRY = """
import os, socket, ctypes, resource, signal, subprocess, sys, time
def trying(what):
    try:
        return what()
    except BaseException as error:
        return type(error).__name__
libc = ctypes.CDLL(None, use_errno=True)
def called(result):
    return os.strerror(ctypes.get_errno()) if result == -1 else result
"""


def look(jailed: Remote, expression: str) -> Any:
    """The value of an expression inside, or the name of the exception that it raises."""
    return jailed.probe(f"{TRY}\ndef probe():\n    return trying(lambda: {expression})")


# What can be seen


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "/etc/passwd", "/root", "/home", "/var", "/sys", "/run", "/proc/1/environ", "/proc/1/mem"]
)
def test_the_host_cannot_be_read(jailed: Remote, path: str) -> None:
    reads = f"os.listdir({path!r}) if os.path.isdir({path!r}) else open({path!r}, 'rb').read(1)"
    seen = look(jailed, reads)
    interpreter = Path(sys.base_prefix).is_relative_to(path)
    assert seen in ("FileNotFoundError", "PermissionError") or (interpreter and len(seen) == 1), seen


@pytest.mark.parametrize("name", ["solutions", "checks", "tests", "lab_app", "pyproject.toml", ".git"])
def test_the_workbook_cannot_be_seen(jailed: Remote, name: str) -> None:
    assert (ROOT / name).exists()
    assert look(jailed, f"os.path.lexists({str(ROOT / name)!r})") is False


def test_the_environment_is_that_of_the_run_only(jailed: Remote) -> None:
    assert look(jailed, "sorted(os.environ)") == ["LAB_TEST", "PATH"]
    environs = "[trying(lambda: open(f'/proc/{p}/environ').read()) for p in os.listdir('/proc') if p.isdigit()]"
    seen = look(jailed, environs)
    for environ in seen:
        names = {entry.split("=")[0] for entry in environ.split("\0") if "=" in entry}
        assert names <= {"PYTHONDONTWRITEBYTECODE", "MALLOC_ARENA_MAX", "PWD"}, names


def test_only_the_jail_s_own_processes_can_be_seen(jailed: Remote) -> None:
    assert len(look(jailed, "[pid for pid in os.listdir('/proc') if pid.isdigit()]")) == 2
    assert look(jailed, "os.getppid()") == 1


def test_a_run_has_no_way_to_the_checker(jailed: Remote) -> None:
    for n in (0, 1, 2, 3, 4, 5):
        assert look(jailed, f"os.open('/proc/1/fd/{n}', os.O_RDWR)") == "PermissionError"
    links = "[trying(lambda: os.readlink(f'/proc/self/fd/{n}')) for n in range(20)]"
    assert sum("pipe:" in target for target in look(jailed, links)) == 3, "its output twice, and its own report"


# Who a run is


def test_a_run_is_nobody(jailed: Remote) -> None:
    assert look(jailed, "[os.getuid(), os.getgid(), os.geteuid()]") == [1000, 1000, 1000]
    status = look(jailed, "open('/proc/self/status').read()")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    for pid in jail.below(jailed.process.pid):
        seen_outside = re.findall(r"(?m)^Uid:\t(\d+)", Path(f"/proc/{pid}/status").read_text())
        assert seen_outside not in (["0"], []), "root must give its rights up before the jail begins"


def test_user_namespaces_are_off(jailed: Remote) -> None:
    for flag in (jail.CLONE_NEWUSER, jail.CLONE_NEWNET | jail.CLONE_NEWUSER, jail.CLONE_NEWNS):
        assert look(jailed, f"called(libc.unshare({flag}))") in ("No space left on device", "Operation not permitted")


@pytest.mark.parametrize("kind", ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"])
def test_every_namespace_is_its_own(jailed: Remote, kind: str) -> None:
    link = f"/proc/self/ns/{kind}"
    assert look(jailed, f"os.readlink({link!r})") != str(Path(link).readlink())


def test_the_session_of_whoever_grades_is_out_of_reach(jailed: Remote) -> None:
    assert look(jailed, "os.getsid(1)") == 1


def test_the_terminal_of_whoever_grades_is_out_of_reach(jailed: Remote) -> None:
    assert look(jailed, "os.open('/dev/tty', os.O_RDWR)") in ("OSError", "PermissionError")


@pytest.mark.parametrize("name", seccomp.DENIED)
def test_a_needless_system_call_is_refused(jailed: Remote, name: str) -> None:
    number = seccomp.MACHINES[os.uname().machine][1][seccomp.DENIED.index(name)]
    assert look(jailed, f"called(libc.syscall({number}, 0, 0, 0, 0, 0))") == "Operation not permitted"


def test_the_limits_of_the_zygote_cannot_be_changed(jailed: Remote) -> None:
    assert look(jailed, "resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3))") == "PermissionError"
    assert look(jailed, "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))") is None


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the second table of calls is x86_64's")
def test_the_second_table_of_system_calls_is_closed(jailed: Remote) -> None:
    assert look(jailed, f"called(libc.syscall({seccomp.X32 + 39}))") == "Operation not permitted"


@pytest.mark.parametrize(("family", "kind"), [(38, 5), (40, 1), (17, 2)], ids=["AF_ALG", "AF_VSOCK", "AF_PACKET"])
def test_a_needless_kind_of_socket_is_refused(jailed: Remote, family: int, kind: int) -> None:
    assert look(jailed, f"socket.socket({family}, {kind})") == "PermissionError"


@pytest.mark.parametrize("family", ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"])
def test_other_kinds_of_sockets_are_not(jailed: Remote, family: str) -> None:
    assert look(jailed, f"socket.socket(socket.{family}, socket.SOCK_DGRAM).close()") is None


def test_every_machine_has_a_number_for_every_denied_call() -> None:
    for _, numbers, *_ in seccomp.MACHINES.values():
        assert len(numbers) == len(set(numbers)) == len(seccomp.DENIED)


# What can be written


@pytest.mark.parametrize("path", ["/", "/usr", "/etc", "/dev", "/proc", sys.prefix, sys.base_prefix, "/usr/bin/env"])
def test_the_system_cannot_be_written(jailed: Remote, path: str) -> None:
    target = path if Path(path).is_file() else f"{path}/written"
    assert look(jailed, f"open({target!r}, 'a')") in ("OSError", "PermissionError", "FileNotFoundError")


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm", "."])
def test_disks_are_small(jailed: Remote, folder: str) -> None:
    fill = f"""
def probe():
    written = 0
    try:
        for n in range(64):
            with open(f"{folder}/{{n}}", "wb") as file:
                for _ in range(16):
                    written += file.write(bytes(1 << 20))
    except OSError as error:
        return written, error.errno
    return written, 0
"""
    written, error = jailed.probe(fill)
    assert error == 28
    assert written <= LIMITS.jail_disk
    jailed.ask("sweep")
    assert jailed.probe(fill)[0] > LIMITS.jail_disk / 2, "the sweep must give the room back"


def test_what_lies_outside_of_the_folder_is_swept_too(jailed: Remote) -> None:
    leave = """
import os
def probe():
    for folder in ("/tmp", "/dev/shm", "/tmp/lab"):
        os.makedirs(folder + "/left/closed/deep")
        os.chmod(folder + "/left/closed", 0)
    os.rename("/tmp/lab", "/tmp/elsewhere")
    os.symlink("/usr", "/tmp/lab")
"""
    jailed.probe(leave)
    jailed.ask("sweep")
    assert look(jailed, "[os.listdir('/tmp/lab'), os.listdir('/dev/shm'), os.path.exists('/tmp/elsewhere')]") == [
        ["probe"],
        [],
        False,
    ]


# Whom a run can reach


@pytest.fixture(scope="module")
def host() -> Iterator[dict[str, Any]]:
    """Sockets on the host, outside of the jail: an abstract one, and one on loopback."""
    with socket.socket(socket.AF_UNIX) as abstract, socket.create_server(("127.0.0.1", 0)) as loopback:
        name = f"\0lab-test-{os.getpid()}"
        abstract.bind(name)
        abstract.listen()
        yield {"abstract": name, "port": loopback.getsockname()[1]}


def test_the_host_s_sockets_cannot_be_reached(jailed: Remote, host: dict[str, Any]) -> None:
    assert look(jailed, f"socket.socket(socket.AF_UNIX).connect({host['abstract']!r})") == "ConnectionRefusedError"
    loopback = f"socket.create_connection(('127.0.0.1', {host['port']}), 2)"
    assert look(jailed, loopback) == "ConnectionRefusedError"


def test_the_outside_cannot_be_reached(jailed: Remote) -> None:
    assert look(jailed, "[name for _, name in socket.if_nameindex() if name == 'lo']") == ["lo"]
    for family, address in ((2, "192.0.2.1"), (2, "10.0.0.1"), (2, "169.254.169.254"), (10, "2001:db8::1")):
        assert look(jailed, f"socket.socket({family}, 2).connect(({address!r}, 53))") == "OSError"
    assert look(jailed, "socket.getaddrinfo('example.com', 80)") == "gaierror"


def test_a_run_can_listen_anywhere_on_its_loopback(jailed: Remote) -> None:
    assert look(jailed, "socket.create_server(('127.0.0.77', 8080)).getsockname()") == ["127.0.0.77", 8080]


def test_processes_outside_can_be_neither_killed_nor_traced(jailed: Remote) -> None:
    for pid in (os.getpid(), jailed.process.pid, jailed.ask("zygote")):
        assert look(jailed, f"os.kill({pid}, 9)") == "ProcessLookupError"
        assert look(jailed, f"called(libc.ptrace(16, {pid}, 0, 0))") == "No such process"


def test_the_zygote_can_be_neither_traced_nor_killed_nor_stopped(jailed: Remote) -> None:
    zygote = jailed.ask("zygote")
    assert look(jailed, "called(libc.ptrace(16, 1, 0, 0))") == "Operation not permitted"
    for number in (2, 9, 15, 19, 11, 6, 20):
        assert look(jailed, f"os.kill(1, {number})") is None
    assert look(jailed, "1 + 1") == 2
    assert jailed.ask("zygote") == zygote


# How much a run can take


def test_processes_are_counted(jailed: Remote) -> None:
    bomb = """
import os, time
def probe():
    made = 0
    try:
        while made < 1000:
            if os.fork() == 0:
                time.sleep(60)
            made += 1
    except BlockingIOError:
        pass
    return made
"""
    assert 10 < jailed.probe(bomb) < LIMITS.jail_processes
    jailed.ask("sweep")
    assert len(look(jailed, "[pid for pid in os.listdir('/proc') if pid.isdigit()]")) == 2


@pytest.mark.parametrize(
    "hold",
    [
        "held = [bytes([1]) * (1 << 20) for _ in range(60)]",
        "import mmap; held = mmap.mmap(-1, 60 << 20); held.write(bytes([1]) * (60 << 20))",
        "import socket; held = [socket.socketpair() for _ in range(450)]",
        "import socket; held = [socket.socketpair() for _ in range(450)]; libc.prctl(4, 0)",
    ],
    ids=["private", "shared", "sockets", "hidden sockets"],
)
def test_memory_is_counted_over_all_processes(jailed: Remote, hold: str) -> None:
    eight = f"""
import ctypes, os, time
libc = ctypes.CDLL(None)
def probe():
    for _ in range(8):
        if os.fork() == 0:
            {hold}
            time.sleep(60)
    time.sleep(60)
"""
    began = time.monotonic()
    with pytest.raises(Trouble, match="memory") as trouble:
        jailed.probe(eight)
    assert trouble.value.kind == "SandboxDied"
    assert time.monotonic() - began < 60
    assert look(jailed, "1 + 1") == 2


def test_closed_connections_keep_few_ports(jailed: Remote) -> None:
    """A port is taken for a minute after its connection was closed, also for whoever is judged next."""
    assert int(look(jailed, "open('/proc/sys/net/ipv4/tcp_max_tw_buckets').read()")) == jail.PARTING


def test_one_process_cannot_take_all_memory(jailed: Remote) -> None:
    assert look(jailed, "len(bytearray(6 << 30))") == "MemoryError"


# What is left afterwards


DAEMON = """
import os, signal, time
for number in (1, 2, 15):
    signal.signal(number, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                pass
        os._exit(0)
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"up"})
def probe():
    pass
"""


def test_daemons_that_ignore_signals_are_gone_after_a_sweep(jailed: Remote) -> None:
    resting = len(jailed.ask("pids"))
    port, _ = jailed.serve(DAEMON)
    assert jailed.ask("get", port) == "up"
    assert len(jailed.ask("pids")) >= resting + 4
    jailed.ask("sweep")
    assert len(jailed.ask("pids")) == resting


@pytest.mark.parametrize("end", ["close", "kill"])
@pytest.mark.parametrize("kind", ["jailed", "user"])
def test_nothing_runs_on_when_the_checker_ends(kind: str, end: str) -> None:
    if kind == "jailed" and os.getuid() != 0:
        pytest.skip("only root can try how root jails")
    remote = Remote(kind)
    remote.serve(DAEMON)
    pids = jail.below(remote.process.pid)
    assert len(pids) >= 5
    if end == "kill":
        remote.process.kill()
    remote.close()
    until = time.monotonic() + 20
    while (left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]) and time.monotonic() < until:
        time.sleep(0.02)
    assert not left


# The self-test


def self_tested(change: str) -> str:
    """How a self-test ends in a process of its own after a change to the jail."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from lab_app.runner import jail
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import Sandbox
{change}
try:
    jail.enter_private_network()
    with Sandbox(Limits(), jailed=True) as sandbox:
        sandbox.self_test()
    print("it holds")
except jail.JailError as error:
    print(error)
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


# Root must keep the private mounts that come with the network, or refuses before there is a jail to look at.
NO_NETWORK = ("CLONE_NEWNET", "0") if os.geteuid() == 0 else ("enter_private_network", "lambda: None")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HIDDEN", "[Path('/usr/bin')]", "/usr/bin can be seen"),
        (*NO_NETWORK, "can be reached"),
        ("held", "lambda pid: 0", "its memory cannot be watched"),
        ("bwrap", "lambda: Path('/bin/false')", "does not start here"),
        ("bwrap", "lambda: Path('/bin/nothing')", "bubblewrap does not start here"),
        ("INSIDE", "Path('/etc/ssl')", "does not start here"),
        ("seccomp.program", "lambda: {}['riscv64']", "the processor 'riscv64'"),
    ],
)
def test_a_jail_that_does_not_hold_refuses(name: str, value: str, says: str) -> None:
    said = self_tested(f"jail.{name} = {value}")
    assert says in said
    assert "\n" not in said
    assert "--trust-submissions" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root stages what it shows")
def test_root_mounts_nothing_on_this_machine() -> None:
    with pytest.raises(jail.JailError, match="in a private network only"):
        jail.reachable(Path("/usr"))
    assert not (jail.STAGE / "usr").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root stages what it shows")
def test_what_others_left_where_it_stages_is_in_nobodys_way() -> None:
    left = 'next(Path(path).mkdir(0o755) for path in [jail.STAGE / sys.prefix.strip("/").replace("/", "+")])'
    enter = f"enter = jail.enter_private_network; jail.enter_private_network = lambda: (enter(), {left})"
    assert self_tested(enter) == "it holds"


@pytest.mark.parametrize(
    "change",
    [
        # What root may read stays closed even where it is shown; without the step down this fails as readable.
        "jail.ETC.append('shadow')",
        # A workbook that lies within the interpreter's folders is hidden all the same.
        "jail.ROOT = Path('/usr/share'); jail.HIDDEN = list(jail.ROOT.iterdir())",
        "jail.ROOT = Path(sys.base_prefix) / 'include'; jail.HIDDEN = list(jail.ROOT.iterdir())",
    ],
)
def test_a_jail_holds_in_odd_places(change: str) -> None:
    assert self_tested(change) == "it holds"
