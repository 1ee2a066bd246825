"""When something was handed in, as nbgrader's timestamp.txt has it: `2026-11-24 02:18:44.948203 UTC`."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from lab_app.classroom.unpack import DAMAGED, Entry, Unreadable

MOST_BYTES = 100


def handed_in(entry: Entry) -> datetime:
    """The time in a timestamp.txt, in UTC. Raises Unreadable."""
    if entry.trouble:
        raise Unreadable(entry.trouble)
    try:
        with entry.open() as file:
            day, time, *zone = file.read(MOST_BYTES).decode().split()
        then = datetime.fromisoformat(f"{day} {time}")
        return (then if then.tzinfo else then.replace(tzinfo=ZoneInfo(zone[0] if zone else "UTC"))).astimezone(UTC)
    except DAMAGED as error:
        raise Unreadable("no time that can be read") from error
