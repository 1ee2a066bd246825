"""Classes as teachers get them, and as students would like to break them."""

import contextlib
import io
import os
import random
import resource
import socket
import stat
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab_app.classroom import collect as collecting
from lab_app.classroom import unpack
from lab_app.classroom.collect import Collected, CollectError, collect

ONE, TWO = "01_authentication.ipynb", "02_https.ipynb"
NFC, NFD = "Zo\u00eb", "Zoe\u0308"
Files = dict[str, bytes]


@dataclass
class Case:
    """Files of an input, as a folder or a zip; the students that it holds, and the names it must give a reason for."""

    about: str
    files: Files
    students: list[str]
    named: list[str] = field(default_factory=list)


def zipped(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


MOODLE = "_assignsubmission_file"
CASES = [
    Case("folders", {f"ada/{ONE}": b"1", f"ada/{TWO}": b"2", f"bob/{ONE}": b"3"}, ["ada", "bob"]),
    Case("deeper folders", {f"ada/week 1/mine/{ONE}": b"1", f"bob/{ONE}": b"2"}, ["ada", "bob"]),
    Case("one wrapper", {f"class/ada/{ONE}": b"1", f"class/bob/{ONE}": b"2"}, ["ada", "bob"]),
    Case("flat names", {"ada.ipynb": b"1", "bob.ipynb": b"2"}, ["ada", "bob"]),
    Case("one student", {ONE: b"1", TWO: b"2"}, ["class"]),
    Case(
        "nbgrader",
        {
            f"submitted/ada/ps1/{ONE}": b"1",
            "submitted/ada/ps1/timestamp.txt": b"2026-11-02 15:58:23.948203 UTC",
            f"submitted/ada/ps2/{TWO}": b"2",
            f"source/ps1/{ONE}": b"the teacher's",
        },
        ["ada"],
    ),
    Case("a student called submitted", {f"submitted/{ONE}": b"1", f"ada/{ONE}": b"2"}, ["ada", "submitted"]),
    Case(
        "Canvas",
        {
            f"lovelaceada_12_901_{ONE}": b"1",
            f"hopperjosé_LATE_13_902_{ONE}": b"2",
            f"kim_14_903_{ONE}": b"3",
            f"kim_15_904_{ONE}": b"4",
            f"anon_Xy7z_905_{ONE}": b"5",
            "quiet_16_text.html": b"written online",
            "zed_17_906_work.zip": zipped({f"work/{ONE}": b"6", "__MACOSX/._x": b""}),
        },
        ["anon", "hopperjosé", "kim (14)", "kim (15)", "lovelaceada", "zed"],
        ["quiet_16_text.html"],
    ),
    Case(
        "Canvas, handed in again",
        {"a_1_7_01_x.ipynb": b"old", "a_1_9_01_x-2.ipynb": b"new", "a_1_8_01_x-1.ipynb": b"older"},
        ["a"],
        ["a: 01_x.ipynb", "a: 01_x-1.ipynb"],
    ),
    Case(
        "Moodle",
        {
            f"Ada Lovelace_123{MOODLE}_/{ONE}": b"1",
            f"José Núñez_124{MOODLE}/mine/{ONE}": b"2",
            f"山田　太郎_125{MOODLE}_/answers.zip": zipped({ONE: b"3"}),
            f"Kim_126{MOODLE}_/{ONE}": b"4",
            f"Kim_127{MOODLE}_/{ONE}": b"5",
            "Silent_128_assignsubmission_onlinetext_/onlinetext.html": b"",
        },
        ["Ada Lovelace", "José Núñez", "Kim (126)", "Kim (127)", "山田 太郎"],
        ["Silent: onlinetext.html", "Silent: there is no notebook"],
    ),
    Case(
        "Moodle, flat", {f"Ada Lovelace_123{MOODLE}_{ONE}": b"1", f"Bo_4{MOODLE}_{ONE}": b"2"}, ["Ada Lovelace", "Bo"]
    ),
    Case(
        "a file that pretends to be a neighbour's",
        {f"Eve_5{MOODLE}_Ada_6{MOODLE}_{ONE}": b"1", f"Ada_6{MOODLE}_{ONE}": b"2"},
        ["Ada", "Eve"],
    ),
    Case("other files", {f"ada/{ONE}": b"1", "ada/a.pdf": b"", "ada/b.pdf": b""}, ["ada"], ["ada: a.pdf and 1 more"]),
    Case("nothing of one", {f"ada/{ONE}": b"1", "bob/notes.txt": b""}, ["ada"], ["bob: there is no notebook"]),
    Case("left by systems", {f"ada/{ONE}": b"1", f"ada/.ipynb_checkpoints/{ONE}": b"", "ada/.DS_Store": b""}, ["ada"]),
    Case("no name", {f"ada/{ONE}": b"1", f" /{ONE}": b"2", "bob/.ipynb": b"3"}, ["ada"], ["(empty)", "bob"]),
    Case("names of one reading", {f"{NFC}/{ONE}": b"1", f"{NFD}/{ONE}": b"2", f"a/{ONE}": b"3"}, ["a"], [NFC]),
    Case("names of one reading but for case", {f"Bo/{ONE}": b"1", f"bo/{ONE}": b"2", f"a/{ONE}": b""}, ["a"], ["Bo"]),
    Case("a control character", {f"a\x1b[31mb/{ONE}": b"1"}, ["a\\x1b[31mb"]),
    Case("a line break", {f"a\nb: 100 points/{ONE}": b"1"}, ["a\\nb: 100 points"]),
    Case("a mark of direction", {f"a\u202egnp/{ONE}": b"1"}, ["a\\u202egnp"]),
    Case("a formula", {f"=cmd|' |A1/{ONE}": b"1"}, ["=cmd|' |A1"]),
    Case("a device", {f"CON/{ONE}": b"1", f"NUL/{ONE}": b"2"}, ["CON", "NUL"]),
    Case("a long name", {f"{'x' * 240}/{ONE}": b"1", f"ada/{ONE}": b"2"}, ["ada"], ["xxxx"]),
    Case("a file named badly", {"ada/01_\x1b[2J.ipynb": b"1"}, ["ada"]),
    Case("a damaged zip", {"ada/work.zip": b"PK\3\4 is all there is", f"bob/{ONE}": b"1"}, ["bob"], ["ada: work.zip"]),
    Case("a zip in a zip", {"ada/a.zip": zipped({"b.zip": zipped({ONE: b"1"})})}, [], ["ada: b.zip: a zip within"]),
    Case("twice the same", {f"ada/{ONE}": b"1", "ada/work.zip": zipped({ONE: b"1"})}, ["ada"]),
    Case("a forged time", {"ada/timestamp.txt": b"9999-99-99 x", f"ada/{ONE}": b"1"}, ["ada"], ["ada: timestamp.txt"]),
]


def as_folder(case: Case, top: Path) -> Path:
    for name, data in case.files.items():
        path = top / "class" / name.removeprefix("class/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return top / "class"


def as_zip(case: Case, top: Path) -> Path:
    (top / "class.zip").write_bytes(zipped(case.files))
    return top / "class.zip"


def everything_in(top: Path) -> set[tuple[str, int]]:
    return {(str(path), path.lstat().st_size) for path in top.rglob("*")}


@pytest.fixture
def gather(tmp_path: Path) -> Iterator[Callable[..., Collected]]:
    """`collect` into a folder of its own; nothing outside of it may change, and what it gives can be read."""
    before: set[tuple[str, int]] = set()

    def gathered(*paths: Path) -> Collected:
        before.update(everything_in(tmp_path))
        collected = collect(list(paths), tmp_path / "work")
        for submission in collected.submissions:
            assert submission.student.isprintable()
            for path in submission.notebooks:
                assert path.is_file()
                assert not path.is_symlink()
                assert path.name.isprintable()
        assert all(sentence.isprintable() and len(sentence) < 700 for sentence in collected.refused)
        return collected

    yield gathered
    outside = {one for one in everything_in(tmp_path) - before if not Path(one[0]).is_relative_to(tmp_path / "work")}
    assert not outside


def names(collected: Collected) -> list[str]:
    return [submission.student for submission in collected.submissions if submission.notebooks]


def contents(collected: Collected) -> dict[str, list[bytes]]:
    return {
        one.student: [path.read_bytes() for path in one.notebooks] for one in collected.submissions if one.notebooks
    }


@pytest.mark.parametrize("form", [as_folder, as_zip])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_every_student_is_found_or_named(
    case: Case, form: Callable[[Case, Path], Path], tmp_path: Path, gather: Callable[..., Collected]
) -> None:
    collected = gather(form(case, tmp_path))
    assert names(collected) == case.students
    for name in case.named:
        assert any(sentence.startswith(name) for sentence in collected.refused), (name, collected.refused)
    assert bool(collected.refused) == bool(case.named), collected.refused


@pytest.mark.parametrize("form", [as_folder, as_zip])
def test_the_file_uploaded_last_is_graded(
    form: Callable[[Case, Path], Path], tmp_path: Path, gather: Callable[..., Collected]
) -> None:
    case = next(case for case in CASES if case.about == "Canvas, handed in again")
    assert contents(gather(form(case, tmp_path))) == {"a": [b"new"]}


def test_of_two_files_on_disk_the_newer_is_graded(tmp_path: Path, gather: Callable[..., Collected]) -> None:
    top = as_folder(Case("", {"ada/01_a.ipynb": b"new", "ada/01_b.ipynb": b"old"}, []), tmp_path)
    os.utime(top / "ada/01_b.ipynb", (1, 1))
    collected = gather(top)
    assert contents(collected) == {"ada": [b"new"]}
    assert collected.refused == ["ada: 01_b.ipynb was left out: 01_a.ipynb is newer."]


def test_two_files_of_one_age_are_both_left_out(tmp_path: Path, gather: Callable[..., Collected]) -> None:
    top = as_folder(Case("", {"ada/01_a.ipynb": b"1", "ada/01_b.ipynb": b"2", f"bob/{ONE}": b"3"}, []), tmp_path)
    for name in "ab":
        os.utime(top / f"ada/01_{name}.ipynb", (1, 1))
    collected = gather(top)
    assert contents(collected) == {"bob": [b"3"]}
    assert any(sentence.startswith("ada: 01_a.ipynb and 01_b.ipynb") for sentence in collected.refused)


@pytest.mark.parametrize("form", [as_folder, as_zip])
def test_several_downloads_add_up(
    form: Callable[[Case, Path], Path], tmp_path: Path, gather: Callable[..., Collected]
) -> None:
    """Moodle numbers a student anew in every assignment."""
    inputs = []
    for number, notebook in ((1, ONE), (2, TWO)):
        (tmp_path / str(number)).mkdir()
        case = Case("", {f"Ada Lovelace_{number}{MOODLE}/{notebook}": notebook.encode()}, [])
        inputs.append(form(case, tmp_path / str(number)))
    assert contents(gather(*inputs)) == {"Ada Lovelace": [ONE.encode(), TWO.encode()]}


def test_the_last_time_of_nbgrader_is_the_time(tmp_path: Path, gather: Callable[..., Collected]) -> None:
    files = {f"ada/ps1/{ONE}": b"1", f"ada/ps2/{TWO}": b"2", f"bob/ps1/{ONE}": b"3"}
    files["ada/ps1/timestamp.txt"] = b"2026-11-02 23:58:23.948203 Europe/Berlin"
    files["ada/ps2/timestamp.txt"] = b"2026-11-01 01:00:00 UTC"
    collected = gather(as_folder(Case("", files, []), tmp_path))
    assert [one.when for one in collected.submissions] == [datetime(2026, 11, 2, 22, 58, 23, 948203, UTC), None]


def test_a_student_cannot_say_when_a_zip_was_handed_in(tmp_path: Path, gather: Callable[..., Collected]) -> None:
    work = zipped({ONE: b"1", "timestamp.txt": b"2000-01-01 00:00:00 UTC"})
    collected = gather(
        as_zip(Case("", {"ada_1_2_work.zip": work, "ada_1_3_timestamp.txt": b"2000-01-01"}, []), tmp_path)
    )
    assert [one.when for one in collected.submissions] == [None]


def test_a_name_in_utf_8_is_read_where_the_zip_does_not_say_so(
    tmp_path: Path, gather: Callable[..., Collected]
) -> None:
    raw = bytearray(zipped({f"hopperjosé_13_902_{ONE}": b"1", f"山田_14_903_{ONE}": b"2"}))
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for at in (at for at in range(len(raw)) if raw[at : at + 4] == signature):
            raw[at + flags + 1] &= ~0x08
    (tmp_path / "class.zip").write_bytes(raw)
    assert names(gather(tmp_path / "class.zip")) == ["hopperjosé", "山田"]


@pytest.mark.parametrize(
    ("archive", "around", "students"),
    [
        ("class (1)", "class/", ["ada", "bob"]),
        ("course", "course/submitted/", ["ada", "bob"]),
        ("classes", "class/", ["class"]),
        ("ada-2", "", ["ada", "bob"]),
    ],
)
def test_a_zip_is_looked_into_as_deep_as_it_was_wrapped(
    archive: str, around: str, students: list[str], tmp_path: Path, gather: Callable[..., Collected]
) -> None:
    (tmp_path / f"{archive}.zip").write_bytes(zipped({f"{around}ada/{ONE}": b"1", f"{around}bob/{TWO}": b"2"}))
    assert names(gather(tmp_path / f"{archive}.zip")) == students


# What a zip can be made to say, in the class's own download or in one that a student handed in.


def forged(name: str, data: bytes = b"1", mode: int = 0, flags: int = 0, method: int = 8) -> bytes:
    """A zip with a good notebook and one entry as wanted; patched where zipfile would not write it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, data)
        archive.writestr(TWO, b"2")
    raw = bytearray(buffer.getvalue())
    at = raw.index(b"PK\1\2")
    raw[at + 8] |= flags
    raw[6] |= flags
    struct.pack_into("<H", raw, at + 10, method)
    return bytes(raw)


EVIL = [
    pytest.param(forged(f"../../{ONE}"), "../../01_authentication.ipynb: a path", id="up"),
    pytest.param(forged(f"/tmp/{ONE}"), "/tmp/01_authentication.ipynb: a path", id="absolute"),
    pytest.param(forged(f"C:/{ONE}"), "C:/01_authentication.ipynb: a path", id="drive"),
    pytest.param(forged(f"..\\..\\{ONE}"), "../../01_authentication.ipynb: a path", id="backslashes"),
    pytest.param(forged(ONE, b"/etc/passwd", stat.S_IFLNK | 0o777), f"{ONE}: a link", id="link"),
    pytest.param(forged("01_x.zip", b"/etc/passwd", stat.S_IFLNK | 0o777), "01_x.zip: a link", id="link to a zip"),
    pytest.param(forged(ONE, mode=stat.S_IFIFO | 0o666), f"{ONE}: a pipe", id="pipe"),
    pytest.param(forged(ONE, flags=1), f"{ONE}: encrypted", id="encrypted"),
    pytest.param(forged(ONE, method=14), f"{ONE}: compressed by another", id="lzma"),
    pytest.param(forged(ONE, bytes(101 << 20)), f"{ONE}: more than 100 MiB", id="bomb"),
]


@pytest.mark.parametrize(("archive", "sentence"), EVIL)
def test_an_evil_entry_is_named_and_spoils_nothing_else(
    archive: bytes, sentence: str, tmp_path: Path, gather: Callable[..., Collected]
) -> None:
    handed_in = as_folder(Case("", {"eve/work.zip": archive, f"bob/{ONE}": b"3"}, []), tmp_path)
    collected = gather(handed_in)
    assert contents(collected) == {"bob": [b"3"], "eve": [b"2"]}
    assert any(one.startswith(f"eve: {sentence}") for one in collected.refused), collected.refused
    (tmp_path / "class.zip").write_bytes(archive)
    collected = gather(tmp_path / "class.zip")
    assert contents(collected) == {"class": [b"2"]}
    assert any(sentence in one for one in collected.refused), collected.refused


@pytest.mark.parametrize("trick", ["none", "overlap", "lie"])
def test_a_student_has_so_much_and_no_more(
    trick: str, tmp_path: Path, gather: Callable[..., Collected], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small on disk, endless when unpacked; entries may share their bytes, and say that they are ten bytes long."""
    monkeypatch.setattr(collecting, "MOST_OF_ONE", 5 << 20)
    raw = bytearray(zipped({f"{n:02}.ipynb": bytes(1 << 20) for n in range(40)}))
    for at in (at for at in range(len(raw)) if raw[at : at + 4] == b"PK\1\2"):
        if trick != "none":
            raw[at + 46 : at + 48] = b"00"
            raw[at + 42 : at + 46] = bytes(4)
        if trick == "lie":
            struct.pack_into("<L", raw, at + 24, 10)
    collected = gather(as_folder(Case("", {"eve/bomb.zip": bytes(raw), f"bob/{ONE}": b"3"}, []), tmp_path))
    assert "bob" in names(collected)
    assert any(sentence.startswith("eve: ") for sentence in collected.refused)
    assert sum(path.stat().st_size for path in (tmp_path / "work").rglob("*") if path.is_file()) <= 5 << 20


def test_a_hundred_bombs_cost_one_student_one_allowance(
    tmp_path: Path, gather: Callable[..., Collected], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "MOST_OF_ONE", 1 << 20)
    bombs = zipped({f"{n}.ipynb": bytes(3 << 20) for n in range(100)})
    began = time.process_time()
    collected = gather(as_folder(Case("", {"eve/bombs.zip": bombs, f"bob/{ONE}": b"3"}, []), tmp_path))
    took = time.process_time() - began
    assert names(collected) == ["bob"]
    began = time.process_time()
    with zipfile.ZipFile(io.BytesIO(bombs)) as archive:
        for name in archive.namelist():
            archive.read(name)
    assert took < (time.process_time() - began) / 5
    assert "eve: there is no notebook to grade." in collected.refused


def test_endless_names_are_cut(tmp_path: Path, gather: Callable[..., Collected]) -> None:
    """No file system has them, but a zip may."""
    files = {f"{'x' * 9000}/notes.txt": b"", f"{'X' * 9000}/{ONE}": b"1", f"{'y' * 9000}/{ONE}": b"", f"a/{ONE}": b""}
    collected = gather(as_zip(Case("", files, []), tmp_path))
    assert names(collected) == ["a"]
    assert [sentence[0] for sentence in collected.refused] == ["x", "x", "y"]


def test_one_student_does_not_fill_the_queue(tmp_path: Path, gather: Callable[..., Collected]) -> None:
    flood = zipped(
        {f"{n:05}.ipynb": b"%d" % n for n in range(2000)} | {f"01_{n}.ipynb": b"%d" % n for n in range(2000)}
    )
    collected = gather(as_folder(Case("", {"eve/work.zip": flood, f"bob/{ONE}": b"1"}, []), tmp_path))
    assert {one.student: len(one.notebooks) for one in collected.submissions} == {"bob": 1, "eve": 50}
    assert len(collected.refused) < 10


def test_a_zip_with_more_entries_than_a_student_has_is_not_listed(
    tmp_path: Path, gather: Callable[..., Collected], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = zipped({f"{n}.txt": b"" for n in range(25_000)})
    assert len(many) > unpack.STUDENT_DIRECTORY
    monkeypatch.setattr(zipfile, "ZipFile", None)  # whoever lists it, fails
    collected = gather(as_folder(Case("", {"eve/many.zip": many, f"bob/{ONE}": b"1"}, []), tmp_path))
    assert names(collected) == ["bob"]
    assert "eve: many.zip: a zip with too many entries." in collected.refused


@pytest.mark.parametrize("seed", range(40))
def test_a_zip_with_any_bytes_changed_never_crashes(
    seed: int, tmp_path: Path, gather: Callable[..., Collected]
) -> None:
    drawn = random.Random(seed)
    raw = bytearray(zipped({ONE: bytes(range(256)) * 20, TWO: b"2", "notes.txt": b"x"}))
    for _ in range(drawn.randint(1, 12)):
        raw[drawn.randrange(len(raw))] = drawn.randrange(256)
    del raw[drawn.choice([len(raw), drawn.randrange(len(raw))]) :]
    collected = gather(as_folder(Case("", {"eve/work.zip": bytes(raw), f"bob/{ONE}": b"1"}, []), tmp_path))
    assert "bob" in names(collected)
    assert "eve" in names(collected) or any(one.startswith("eve: ") for one in collected.refused)
    (tmp_path / "class.zip").write_bytes(raw)
    with contextlib.suppress(CollectError):
        gather(tmp_path / "class.zip")


def test_only_files_are_opened(
    tmp_path: Path, gather: Callable[..., Collected], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe would be waited for, a link may lead to a neighbour."""
    top = as_folder(Case("", {f"ada/{ONE}": b"1", "eve/notes.txt": b""}, []), tmp_path)
    os.mkfifo(top / "eve" / ONE)
    (top / "eve" / TWO).symlink_to(top / "ada" / ONE)
    (top / "eve" / "03_loop").symlink_to(top)
    (top / "mallory").symlink_to(top / "ada")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(top / "eve")  # a socket's path has at most 107 bytes
        listening.bind("04_s.ipynb")
        collected = gather(top)
    assert contents(collected) == {"ada": [b"1"]}
    for sentence in ("eve: 01_a", "eve: 02_", "mallory: a link", "eve: there is no notebook"):
        assert any(one.startswith(sentence) for one in collected.refused), (sentence, collected.refused)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that anybody may enter; what runs here has no more rights than anybody."""
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(top)
        finally:
            if root:
                os.seteuid(0)


def test_what_cannot_be_read_is_named(unprivileged: Path) -> None:
    top = as_folder(Case("", {f"ada/{ONE}": b"1", f"eve/{ONE}": b"2", f"bob/{ONE}": b"3"}, []), unprivileged)
    (top / "eve").chmod(0)
    collected = collect([top], unprivileged / "work")
    (top / "eve").chmod(0o700)
    assert names(collected) == ["ada", "bob"]
    assert collected.refused == ["eve: not readable: Permission denied.", "eve: there is no notebook to grade."]
    top.chmod(0)
    with pytest.raises(CollectError, match="Permission denied"):
        collect([top], unprivileged / "work")
    top.chmod(0o700)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("missing", None),
        ("class.zip", b"no zip"),
        ("class.zip", b""),
        ("empty.zip", zipped({})),
        ("essay.pdf", b"%PDF"),
    ],
)
def test_what_is_no_class_is_one_sentence(name: str, data: bytes | None, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(CollectError) as raised:
        collect([tmp_path / name], tmp_path / "work")
    assert name in str(raised.value)


def test_results_do_not_go_among_submissions(tmp_path: Path) -> None:
    top = as_folder(CASES[0], tmp_path)
    with pytest.raises(CollectError, match="another place"):
        collect([top], top / "out")
    assert sorted(path.name for path in top.iterdir()) == ["ada", "bob"]


def test_a_class_is_larger_than_the_number_of_files_that_may_be_open(tmp_path: Path) -> None:
    archive = zipped({ONE: b"1"})
    files = {f"student{n}/{ONE}": b"1" for n in range(100)} | {f"other{n}/work.zip": archive for n in range(100)}
    top = as_folder(Case("", files, []), tmp_path)
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 10, usual[1]))
    try:
        collected = collect([top], tmp_path / "work")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert len(collected.submissions) == 200
    assert not collected.refused


def test_collecting_again_gives_the_same(tmp_path: Path) -> None:
    source = as_zip(next(case for case in CASES if case.about == "Canvas"), tmp_path)
    first = collect([source], tmp_path / "work")
    was = contents(first)
    again = collect([source], tmp_path / "work")
    assert again == first
    assert contents(again) == was
