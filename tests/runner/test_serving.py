"""What serves in the process that judges hears only so much, whoever talks to it."""

from collections.abc import Iterator

import httpx
import pytest

from lab_app.runner.services.inbox import Inbox
from lab_app.runner.services.serving import MOST_BYTES


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    service = Inbox().start()
    yield service
    service.stop()


def send(inbox: Inbox, body: bytes) -> int:
    """The status of an alert; 0 if the connection breaks off."""
    try:
        return httpx.post(inbox.url, content=body, trust_env=False).status_code
    except httpx.TransportError:
        return 0


def test_an_endless_body_is_not_kept(inbox: Inbox) -> None:
    assert send(inbox, b"{}") == 202
    assert send(inbox, bytes(MOST_BYTES + 1)) != 202
    assert len(inbox.alerts) == 1


def test_nor_are_endless_requests(inbox: Inbox) -> None:
    inbox.served.app.left = 1000
    statuses = [send(inbox, b"{}") for _ in range(10)]
    assert statuses[0] == 202
    assert statuses[-1] != 202
    assert len(inbox.alerts) < 5
