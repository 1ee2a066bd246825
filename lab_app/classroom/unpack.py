"""Look into folders and zips that strangers filled.

No name of theirs becomes a path of ours (CWE-22), no link is followed (ASVS 5.0 5.2.5), bytes are counted as they are
unpacked and not as a zip declares them (CWE-409), and a student has so much and no more (ASVS 5.0 5.2.3, 5.2.4).
"""

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import IO

Age = tuple[str, tuple[int, ...]]  # what kind of clock, and its reading: ages of one kind can be compared

# The central directory, read whole into memory: some 60 bytes an entry.
CLASS_DIRECTORY, STUDENT_DIRECTORY = 256 << 20, 1 << 20
CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}
COURSE = {"source", "release", "autograded", "nbgrader_config.py", "gradebook.db"}
# What zipfile raises for a damaged or forged archive.
BROKEN = (OSError, EOFError, ValueError, LookupError, ArithmeticError, RuntimeError, struct.error, zlib.error)
DAMAGED = (*BROKEN, zipfile.BadZipFile)


class Unreadable(Exception):
    """Why a file is left out, as a phrase that follows its name."""


@dataclass(frozen=True)
class Entry:
    """A file or folder at `parts` below a folder or in a zip. `trouble`: why it must not be opened.

    `path`: where it lies already, if it need not be unpacked.
    """

    parts: tuple[str, ...]
    open: Callable[[], IO[bytes]]
    age: Age | None = None
    path: Path | None = None
    folder: bool = False
    trouble: str = ""


def in_folder(top: Path) -> Iterator[Entry]:
    """All below a folder but clutter. Raises OSError for the folder itself only."""
    todo = [top]
    while todo:
        folder = todo.pop()
        try:
            paths = sorted(path for path in folder.iterdir() if not _clutter(path.name))
        except OSError as error:
            if folder == top:
                raise
            yield replace(_on_disk(top, folder), folder=False, trouble=f"not readable: {error.strerror}")
            continue
        for path in paths:
            entry = _on_disk(top, path)
            yield entry
            if entry.folder:
                todo.append(path)


def _on_disk(top: Path, path: Path) -> Entry:
    parts = path.relative_to(top).parts
    try:
        status = path.lstat()
    except OSError as error:
        return Entry(parts, lambda: path.open("rb"), trouble=f"not readable: {error.strerror}")
    return Entry(
        parts,
        lambda: path.open("rb"),
        age=("disk", (status.st_mtime_ns,)),
        path=path,
        folder=stat.S_ISDIR(status.st_mode),
        trouble=_kind(status.st_mode),
    )


@contextmanager
def in_zip(path: Path, most_directory: int) -> Iterator[list[Entry]]:
    """All in a zip, to be opened while this is open; of clutter, the folder that it lies in. Raises Unreadable."""
    try:
        _weigh_directory(path, most_directory)
        archive = zipfile.ZipFile(path)
    except DAMAGED as error:
        raise Unreadable("no zip that can be read") from error
    with archive:
        yield [entry for info in archive.infolist() if (entry := _in_zip(archive, info)).parts]


def _in_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    name = _name(info).replace("\\", "/")  # as some Windows programs write it
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    trouble = _kind(info.external_attr >> 16)
    clean = tuple(takewhile(lambda part: not _clutter(part), parts))
    if name.startswith("/") or ".." in parts or name[1:2] == ":":
        parts, trouble = (name,), "a path that leads out of the zip"
    elif clean != parts:
        return Entry(clean, lambda: archive.open(info), folder=True)
    elif info.flag_bits & 1:
        trouble = "encrypted"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        trouble = "compressed by another method than deflate"
    age = ("zip", info.date_time)
    return Entry(parts, lambda: archive.open(info), age, folder=info.is_dir() and not trouble, trouble=trouble)


def _name(info: zipfile.ZipInfo) -> str:
    """An entry's name; many programs write UTF-8 without saying so, and zipfile takes it for a DOS code page."""
    try:
        return info.filename if info.flag_bits & 0x800 else info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _weigh_directory(path: Path, most: int) -> None:
    """Refuse a zip that lists more than a class could hand in, before zipfile reads the list. Raises Unreadable."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - (1 << 16) - 22 - 20))
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0:
        raise Unreadable("no zip that can be read")
    (listed,) = struct.unpack_from("<L", tail, end + 12)
    zip64 = tail[max(0, end - 20) : end].startswith(b"PK\6\7")
    if listed > most or (zip64 and size > most):
        raise Unreadable("a zip with too many entries")


def unwrapped(entries: list[Entry], name: str) -> list[Entry]:
    """What is below nbgrader's `submitted`, or below the one folder that a zip of this name was made of."""
    while wrapper := _wrapper(entries, name):
        inner = (entry for entry in entries if entry.parts[0] == wrapper and len(entry.parts) > 1)
        entries = [replace(entry, parts=entry.parts[1:]) for entry in inner]
    return entries


def is_course(names: set[str]) -> bool:
    """Whether these lie in a course folder of nbgrader. A student may be called `submitted`, and hides nobody."""
    return "submitted" in names and (len(names) == 1 or not COURSE.isdisjoint(names))


def _wrapper(entries: list[Entry], name: str) -> str:
    folders = {entry.parts[0] for entry in entries if entry.folder or len(entry.parts) > 1}
    if is_course({entry.parts[0] for entry in entries}):
        return "submitted"
    (only,) = folders if len(folders) == 1 and all(entry.folder or len(entry.parts) > 1 for entry in entries) else [""]
    return only if re.fullmatch(re.escape(only) + r"[ _-]?\(?\d*\)?", name) else ""  # `class (1).zip` has `class` in it


def copy(entry: Entry, target: Path, most: int) -> int:
    """Write an entry to `target`, at most so many bytes by count, and give their number. Raises Unreadable."""
    size = 0
    target.parent.mkdir(parents=True)
    try:
        with target.open("xb") as file:
            for chunk in _chunks(entry):
                size += len(chunk)
                if size > most:
                    raise Unreadable(f"more than {most >> 20} MiB unpacked")
                file.write(chunk)
    except Unreadable:
        target.unlink()
        raise
    return size


def _chunks(entry: Entry) -> Iterator[bytes]:
    if entry.trouble:
        raise Unreadable(entry.trouble)
    try:
        with entry.open() as file:
            while chunk := file.read(1 << 16):
                yield chunk
    except DAMAGED as error:
        raise Unreadable("damaged or not readable") from error


def _kind(mode: int) -> str:
    """Why a thing of this mode is not opened; zips made on Windows give no mode."""
    if stat.S_ISLNK(mode):
        return "a link, and links are not followed"
    plain = stat.S_IFMT(mode) == 0 or stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return "" if plain else "a pipe, a socket or a device"


def _clutter(name: str) -> bool:
    """What systems and editors leave behind, .ipynb_checkpoints among them."""
    return (name.startswith(".") and name != "..") or name.casefold() in CLUTTER
