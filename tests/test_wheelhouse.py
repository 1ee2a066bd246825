"""A lock comes from an answer; pip is given nothing of it but pins and hashes."""

import pytest

from checks.wheelhouse import BadLock, harmless, pins

HASH = "--hash=sha256:" + "a" * 64


@pytest.mark.parametrize(
    "lock",
    [
        f"# a comment — with a dash\nfoo==1.0 \\\n    {HASH} \\\n    {HASH}\n    # via bar\n",
        f"bar[cli,x] == 2.0rc1 {HASH}  # why\n\n",
        f"Foo_Bar==1!2.0.post1 {HASH}\r\nbar==1 ; python_version >= '3' {HASH}",
        "foo\nbar>=1,<2\nbaz==1.*\n",
    ],
)
def test_pins_are_harmless(lock: str) -> None:
    assert all(line[0].isalnum() for line in harmless(lock).splitlines())
    assert pins(harmless(lock))


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://evil.example/simple",
        f"foo==1.0 --index-url=https://evil.example {HASH}",
        f"foo==1.0 {HASH} --global-option=x",
        "-e .",
        "-r /etc/passwd",
        "./wheels/foo-1.0-py3-none-any.whl",
        "/tmp/foo-1.0-py3-none-any.whl",
        "foo-1.0-py3-none-any.whl/../x",
        "foo @ file:///tmp/foo-1.0-py3-none-any.whl",
        "https://evil.example/foo.whl",
        "${HOME}==1.0",
        "foo==1.0 ; python_version > '3' --index-url=x",
        "foo==1.0\u2028-r x",
        "foo==1.0\x0c-r x",
        f"{HASH}",
        "x" * 100_000,
    ],
)
def test_everything_else_is_refused(line: str) -> None:
    with pytest.raises(BadLock):
        pins(harmless(f"bar==1.0 {HASH}\n{line}\n"))


def test_comments_never_reach_pip() -> None:
    assert harmless(f"# -*- coding: utf-7 -*-\nfoo==1.0 {HASH} # x\n") == f"foo==1.0 {HASH}\n"


@pytest.mark.parametrize("lock", [None, 3, ["foo==1.0"]])
def test_a_lock_is_text(lock: object) -> None:
    with pytest.raises(BadLock):
        harmless(lock)
