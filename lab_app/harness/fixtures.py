"""What a check asks for by name: the app, the people of the library, and freshly drawn values."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from lab_app.harness.draw import Draw
from lab_app.harness.library import Member
from lab_app.harness.world import Answer, App, Desk

if TYPE_CHECKING:
    from lab_app.runner.services.browser import Chromium
    from lab_app.runner.services.certificate import Certificate
    from lab_app.runner.services.github import GitHub
    from lab_app.runner.services.inbox import Inbox
    from lab_app.runner.services.redis import Redis


@pytest.fixture
def answer(request: pytest.FixtureRequest) -> Answer:
    """The answer under judgement, its evidence emptied for this check."""
    from lab_app.harness.plugin import number_of, session_key

    session = request.config.stash[session_key]
    number = number_of(request.node)
    if number in session.troubles:
        pytest.fail(session.troubles[number], pytrace=False)
    mine = (item for item in request.session.items if number_of(item) == number)
    if any("chromium" in getattr(item, "fixturenames", ()) for item in mine):
        from lab_app.runner.services import browser  # which only the checks that open a page need

        with suppress(browser.NoBrowser):  # they will say so
            browser.chromium()  # before the answer runs, which could otherwise leave it no room, and skip these checks
    answer = session.answer(number)
    answer.exchanges.clear()
    return answer


@pytest.fixture
def app(answer: Answer) -> App:
    """The learner's app, shared by the checks of its exercise."""
    return answer.shared()


@pytest.fixture
def app_in(answer: Answer) -> Callable[[str], App]:
    """The learner's app in a time zone such as Asia/Tokyo, shared by the checks of its exercise."""
    return lambda zone: answer.shared(TZ=zone)


@pytest.fixture
def launch(answer: Answer) -> Iterator[Callable[..., App]]:
    """Start an app of its own under changed environment variables; it ends with the check."""
    apps: list[App] = []

    def start(**env: str) -> App:
        apps.append(answer.launch(**env))
        return apps[-1]

    yield start
    for app in apps:
        if app.alive():
            app.kill()


@pytest.fixture
def desk(answer: Answer) -> Desk:
    """A fresh working folder, where functions of the learner's cell are called."""
    return Desk(answer)


@pytest.fixture
def api(app: App) -> httpx.Client:
    """A client who is nobody yet."""
    return app.api


@pytest.fixture
def draw(answer: Answer, request: pytest.FixtureRequest) -> Draw:
    """Fresh values, others for every check."""
    return Draw(answer.seed, request.node.nodeid.split("::")[-1])


@pytest.fixture
def ada(app: App) -> Member:
    """A member with two loans."""
    return app.library.ada


@pytest.fixture
def bob(app: App) -> Member:
    """Another member with two loans."""
    return app.library.bob


@pytest.fixture
def staff(app: App) -> Member:
    """One of the library's staff."""
    return app.library.staff


@pytest.fixture
def disabled(app: App) -> Member:
    """A member whose account is disabled."""
    return app.library.disabled


@pytest.fixture(scope="session")
def certificate() -> "Certificate":
    """A certificate with an RSA key, one for all checks of a run."""
    from lab_app.runner.services.certificate import self_signed

    return self_signed("localhost", "127.0.0.1")


@pytest.fixture(scope="session")
def github_service(request: pytest.FixtureRequest) -> Iterator["GitHub"]:
    """One GitHub for all checks of a run."""
    from lab_app.harness.plugin import session_key
    from lab_app.runner.services.github import GitHub  # a web stack that only these checks need

    names = Draw(request.config.stash[session_key].seed, "github")
    service = GitHub(f"Iv1.{names.secret(16)}", names.secret(40)).start()
    yield service
    service.stop()


@pytest.fixture
def github(github_service: "GitHub") -> "GitHub":
    """The local GitHub, its records emptied for this check."""
    github_service.tokens.clear()
    github_service.exchanges.clear()
    return github_service


@pytest.fixture(scope="session")
def inbox_service() -> Iterator["Inbox"]:
    """One alert inbox for all checks of a run."""
    from lab_app.runner.services.inbox import Inbox  # a web stack that only these checks need

    service = Inbox().start()
    yield service
    service.stop()


@pytest.fixture
def inbox(inbox_service: "Inbox", answer: Answer) -> "Inbox":
    """The inbox of whoever is on call, emptied for this check; its `url` goes into ALERT_WEBHOOK_URL."""
    inbox_service.clear()
    inbox_service.patience = answer.patience
    return inbox_service


@pytest.fixture(scope="session")
def redis_service(request: pytest.FixtureRequest) -> Iterator["Redis"]:
    """One Redis for all checks of a run, jailed if the answers are."""
    from lab_app.harness.plugin import session_key
    from lab_app.runner.services.redis import redis_for  # a client that only these checks need

    service = redis_for(request.config.stash[session_key].sandbox.jailed)
    yield service
    service.close()


@pytest.fixture
def redis(redis_service: "Redis") -> "Redis":
    """The local Redis, emptied for this check; its `url` goes into REDIS_URL."""
    if not redis_service.running():  # an answer may have shut it down
        redis_service.stop()
        redis_service.start()
    redis_service.flush()
    return redis_service


@pytest.fixture
def site(answer: Answer, github: "GitHub") -> Callable[..., App]:
    """The learner's app with `github` behind it, shared by the checks under one public address."""
    from lab_app.runner.services.github import environment

    def shared(public: str = "http://larkspur.example") -> App:
        session_secret = Draw(answer.seed, answer.title, "session").secret()
        return answer.shared(**environment(github, public, session_secret))

    return shared


@pytest.fixture
def chromium() -> Callable[[], "Chromium"]:
    """The one browser of this process, once it is asked for. Without one a check is skipped; in CI it fails."""

    def start() -> "Chromium":
        from lab_app.runner.services import browser  # which only the checks that open a page need

        try:
            return browser.chromium()
        except browser.NoBrowser as trouble:
            if "CI" in os.environ:
                raise
            pytest.skip(f"{trouble}, so no page was opened here. This check counts neither for nor against you.")

    return start
