"""A sandbox keeps its promises whatever runs in it: plain, without fork, jailed by root, jailed by a user."""

import contextlib
import os
import sys
import time
from pathlib import Path

import pytest

from lab_app.runner import jail
from lab_app.runner.fresh import FreshSandbox
from lab_app.runner.inside.run import OUTPUT_BYTES
from lab_app.runner.limits import Limits
from lab_app.runner.sandbox import Sandbox
from lab_app.runner.services.certificate import self_signed
from tests.runner.conftest import LIMITS, Remote, Trouble

SAYS = """
import os
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    text = str(eval(scope["path"][1:].replace("~", " "))).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text})
"""


def test_an_app_is_served_in_its_own_folder_and_environment(sandbox: Remote) -> None:
    port, pid = sandbox.serve(SAYS, "mine", COLOUR="green", TZ="Asia/Tokyo")
    assert sandbox.ask("get", port, "/os.environ['COLOUR']") == "green"
    assert sandbox.ask("get", port, "/__import__('time').tzname[0]") == "JST"
    assert sandbox.ask("get", port, "/os.getcwd()") == sandbox.ask("folder") + "/mine"
    assert sandbox.ask("get", port, "/__name__") == "__main__"
    assert sandbox.ask("output", port, pid)[0] is None
    assert "HOME" not in sandbox.ask("get", port, "/list(os.environ)")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no zygote without fork")
def test_a_zygote_that_is_slow_to_come_costs_no_answer_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    zygote = jail.zygote
    slowly = ["sh", "-c", 'sleep 5; exec "$@"', "sh"]
    monkeypatch.setattr(jail, "zygote", lambda parent: [*slowly, *zygote(parent)])
    with Sandbox(Limits(slack_seconds=4), jailed=False) as one:
        one.write("mine", {"file": b"there"})
        assert one.read("mine") == {"file": b"there"}


CELL = """
import sys
from time import time
helper = "the cell's"
sys.getallocatedblocks = None
def now():
    return [time() > 0, helper]
"""
DRIVER = """
import time
from sys import getallocatedblocks
helper = "ours"
def both():
    return [now(), time.monotonic() > 0, helper, getallocatedblocks() > 0]
"""


@pytest.mark.parametrize("forks", [True, False])
def test_a_cell_and_what_calls_it_keep_their_names_apart(forks: bool) -> None:
    if forks and not hasattr(os, "fork"):
        pytest.skip("there is no zygote without fork")
    with Sandbox(Limits(), jailed=False) if forks else FreshSandbox(Limits()) as one:
        value = one.call(CELL, "Cell", {}, "mine", "both", driver=DRIVER)
    assert value == [[True, "the cell's"], True, "ours", True]


def test_apps_run_side_by_side_and_one_ends_alone(sandbox: Remote) -> None:
    one, other = sandbox.serve(SAYS, "one"), sandbox.serve(SAYS, "other")
    assert one[0] != other[0]
    sandbox.ask("stop", *one)
    assert sandbox.ask("output", *one)[0] is not None
    assert sandbox.ask("get", other[0], "/1+1") == "2"
    with pytest.raises(Trouble) as trouble:
        sandbox.ask("get", one[0])
    assert trouble.value.kind == "NoAnswer"


def test_clients_are_told_apart_by_address(sandbox: Remote) -> None:
    port, _ = sandbox.serve(SAYS)
    assert sandbox.ask("get", port, "/scope['client'][0]") == "127.0.0.1"
    assert sandbox.ask("get", port, "/scope['client'][0]", "127.0.0.9") == "127.0.0.9"


def test_what_is_printed_is_kept_up_to_a_bound(sandbox: Remote) -> None:
    port, pid = sandbox.serve(SAYS + "\nprint('hello, Ada', flush=True)\n")
    assert "hello, Ada" in sandbox.ask("stop", port, pid, 2)
    port, pid = sandbox.serve(SAYS + "\nfor _ in range(200):\n    print('x' * (1 << 20))\nos.write(2, b'the end')\n")
    assert OUTPUT_BYTES / 2 < len(sandbox.ask("stop", port, pid)) <= OUTPUT_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only what is held now is told")
def test_the_peak_of_memory_stays_and_counts_children(sandbox: Remote) -> None:
    some = 40 << 20
    children = f"""
import os, time
def child():
    if os.fork() == 0:
        held = b"x" * {some}
        os.write(2, b"held")
        time.sleep(30)
"""
    port, pid = sandbox.serve(SAYS + children)
    before = sandbox.ask("peak", port, pid)
    sandbox.ask("get", port, f"/len(b'x'*{some})")
    once = sandbox.ask("peak", port, pid)
    assert 0.9 * some < once - before < 1.5 * some
    sandbox.ask("get", port, "/child()")
    until = time.monotonic() + 5
    while "held" not in sandbox.ask("output", port, pid)[1] and time.monotonic() < until:
        time.sleep(0.02)
    assert sandbox.ask("peak", port, pid) - once > 0.9 * some


def test_a_polite_stop_lets_the_app_finish(sandbox: Remote) -> None:
    lasting = """
async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("put away", flush=True)
    await send({"type": "lifespan.shutdown.complete"})
"""
    port, pid = sandbox.serve(lasting)
    assert "put away" in sandbox.ask("stop", port, pid, 5)


def test_a_stop_ends_whoever_ignores_it(sandbox: Remote) -> None:
    deaf = (
        SAYS
        + """
import signal, threading, time
os.setpgid(0, 0) if os.getpid() != os.getsid(0) else None
def again():
    while True:
        time.sleep(0.01)
threading.Thread(target=again).start()
"""
    )
    port, pid = sandbox.serve(deaf)
    sandbox.ask("get", port, "/signal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGTERM])")
    sandbox.ask("stop", port, pid, 0.2)
    assert sandbox.ask("output", port, pid)[0] is not None


def test_a_function_is_called_with_json(sandbox: Remote) -> None:
    assert sandbox.probe("def probe():\n    return {'n': [1, 2.5, None, 'é', True]}") == {
        "n": [1, 2.5, None, "é", True]
    }
    with pytest.raises(Trouble, match="KeyError: 'probe'"):
        sandbox.probe("x = 1")


@pytest.mark.parametrize("value", ["object()", "b'x'", "{1, 2}", "lambda: 1", "__import__('os')"])
def test_a_value_that_is_no_json_is_trouble(zygote: Remote, value: str) -> None:
    with pytest.raises(Trouble, match="not JSON serializable"):
        zygote.probe(f"def probe():\n    return {value}")


def test_a_value_that_runs_away_is_trouble(zygote: Remote) -> None:
    for value in ("'x' * (40 << 20)", "__import__('functools').reduce(lambda a, _: [a], range(950), 0)"):
        with contextlib.suppress(Trouble, RecursionError):
            zygote.probe(f"def probe():\n    return {value}")
    assert zygote.probe("def probe():\n    return 1") == 1


CELLS = {
    "a syntax error": ("def app(:\n", "SyntaxError"),
    "no app": ("x = 1\n", "defines no `app`"),
    "an app that is none": ("app = 7\n", "defines no `app`"),
    "an exception": ("import json\njson.loads('{')\n", "JSONDecodeError"),
    "an exit": ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    "a bare exit": ("import os\nprint('so long', flush=True)\nos._exit(0)\n", "so long"),
    "a bare silent exit": ("import os\nos._exit(0)\n", "ended before it answered"),
    "a crash": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "ended before it answered"),
    "a broken startup": (
        "async def app(scope, receive, send):\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'no db'})\n",
        "no db",
    ),
    "a null byte": ("x = 1\0\n", "null bytes"),
    "endless recursion": ("def f():\n    f()\nf()\n", "RecursionError"),
    "nested too deep": ("x = " + "(" * 5000 + ")" * 5000, "Error"),
    "lone surrogates": ("x = '\ud800'\nprint(x)\n", "Error"),
}


def test_a_cell_that_fails_says_why_in_every_sandbox(sandbox: Remote) -> None:
    for name in ("an exception", "no app", "a bare exit", "a bare silent exit", "a broken startup"):
        cell, says = CELLS[name]
        with pytest.raises(Trouble, match=says):
            sandbox.serve(cell)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_that_does_not_start_says_why(zygote: Remote, name: str) -> None:
    cell, says = CELLS[name]
    with pytest.raises(Trouble) as trouble:
        zygote.serve(cell)
    assert says in str(trouble.value)
    assert not trouble.value.slow
    assert "inside" not in str(trouble.value), "a learner reads their own lines only"


@pytest.mark.parametrize("cell", ["while True: pass", "import time\ntime.sleep(100)"])
def test_a_cell_that_never_ends_is_given_up(zygote: Remote, cell: str) -> None:
    with pytest.raises(Trouble) as trouble:
        zygote.serve(cell)
    assert trouble.value.slow


FORGED = {
    "nothing": b"",
    "noise": b"\xff\xfe\n",
    "a list": b"[]\n",
    "another port": b'{"port": 1, "pid": 1}\n',
    "another request": b'{"n": 1, "port": 1, "pid": 1}\n',
    "a trouble that is no text": b'{"trouble": []}\n',
    "a deep nest": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_report_is_no_report(zygote: Remote, name: str) -> None:
    forge = f"""
import os, stat
for fd in range(3, 40):
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.set_blocking(fd, True)
            os.write(fd, {FORGED[name]!r})
    except OSError:
        pass
os._exit(0)
"""
    with pytest.raises(Trouble) as trouble:
        zygote.serve(forge)
    assert trouble.value.kind == "AnswerTrouble"
    assert zygote.probe("def probe():\n    return 1") == 1


ENDLESS = """
import os
while True:
    for fd in range(3, 20):
        try:
            os.write(fd, b"x" * 65536)
        except OSError:
            pass
"""


def test_an_endless_report_is_cut_off(zygote: Remote) -> None:
    with pytest.raises(Trouble):
        zygote.serve(ENDLESS)
    assert zygote.probe("def probe():\n    return 1") == 1


def test_rows_are_read_and_written(sandbox: Remote) -> None:
    path = sandbox.ask("folder") + "/db"
    sandbox.ask("sql", path, "CREATE TABLE t (a, b)")
    sandbox.ask("sql", path, "INSERT INTO t VALUES (?, ?)", 1, "é")
    assert sandbox.ask("sql", path, "SELECT a, b, x'ff00' FROM t") == [[1, "é", "ÿ\0"]]
    with pytest.raises(Trouble, match="no_such"):
        sandbox.ask("sql", path, "SELECT * FROM no_such")


MIXED = """
import os
def probe():
    os.chdir("../home")
    os.mkdir("sub")
    os.symlink("/etc/hosts", "link")
    os.mkfifo("pipe")
    with open("sub/b", "w") as file:
        file.write("two")
"""


def test_files_are_written_and_read(sandbox: Remote) -> None:
    sandbox.ask("write", "home", {"a.txt": "one"})
    sandbox.probe(MIXED)
    assert sandbox.ask("read", "home") == {"a.txt": "one", "sub/b": "two"}


STUBBORN = {
    "closed": "os.makedirs('closed/deep')\nopen('closed/deep/file', 'w')\nos.chmod('closed', 0)",
    "deep": "for _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')",
    "links": "os.symlink('/usr', 'link')\nos.symlink('link', 'loop')\nos.mkfifo('pipe')",
    "its own folder": "here = os.getcwd()\nos.rename(here, here + '-gone')\nos.symlink('/usr', here)",
    "the root": "os.chmod('..', 0)",
}


@pytest.mark.parametrize("name", STUBBORN)
def test_a_sweep_leaves_nothing(zygote: Remote, name: str) -> None:
    body = STUBBORN[name].replace("\n", "\n    ")
    zygote.probe(f"import os\ndef probe():\n    {body}")
    zygote.ask("sweep")
    listing = "import os\ndef probe():\n    return sorted(os.listdir('..')), os.listdir('.')"
    assert zygote.probe(listing) == [["probe"], []]
    assert Path("/usr/bin/env").exists()


def test_a_run_that_kills_its_parent_harms_itself(zygote: Remote) -> None:
    for number in (9, 19):
        with contextlib.suppress(Trouble):
            zygote.serve(f"import os, time\nos.kill(os.getppid(), {number})\ntime.sleep(0.5)\n" + SAYS)
        zygote.ask("sweep")
        assert zygote.probe("def probe():\n    return 1") == 1


def test_nothing_is_left_when_a_sandbox_closes() -> None:
    for kind in ("plain", "fresh"):
        remote = Remote(kind, LIMITS)
        folder = Path(remote.ask("folder"))
        remote.serve(SAYS + "\nif os.fork() == 0:\n    __import__('time').sleep(300)\n")
        children = remote.ask("pids")
        assert len(children) >= 2
        remote.close()
        until = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < until:
            time.sleep(0.02)
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
        assert not folder.exists()


def test_a_cell_says_itself_how_it_is_served_over_tls(sandbox: Remote) -> None:
    pair = self_signed("localhost")
    sandbox.ask("write", "secure", {"cert.pem": pair.cert.decode(), "key.pem": pair.key.decode()})
    cell = SAYS + "def tls_settings(cert, key):\n    return {'ssl_certfile': cert, 'ssl_keyfile': key}\n"
    files = [f"{sandbox.ask('folder')}/secure/{name}.pem" for name in ("cert", "key")]
    port = sandbox.ask("start", cell, "probe", {}, "secure", files)["port"]
    assert sandbox.ask("get", port, "/scope['scheme']", "127.0.0.1", True) == "https"
    with pytest.raises(Trouble, match="KeyError: 'tls_settings'"):
        sandbox.ask("start", SAYS, "probe", {}, "secure", files)


def test_a_program_runs_in_its_folder_until_it_is_stopped(sandbox: Remote) -> None:
    script = "import os, time; print(os.getcwd(), os.environ.get('COLOUR'), flush=True); time.sleep(60)"
    port, pid = sandbox.ask("run", [sys.executable, "-c", script], {"COLOUR": "green"}, "mine")
    until = time.monotonic() + 20
    while not (said := sandbox.ask("output", port, pid))[1] and time.monotonic() < until:
        time.sleep(0.01)
    assert said == [None, f"{sandbox.ask('folder')}/mine green\n"]
    sandbox.ask("stop", port, pid)
    assert sandbox.ask("output", port, pid)[0] is not None


def test_what_an_answer_writes_is_open_as_on_any_server(sandbox: Remote) -> None:
    write = "import os\ndef probe():\n    open('a', 'w').close()\n    return os.stat('a').st_mode & 0o777\n"
    assert sandbox.probe(write) == 0o644
