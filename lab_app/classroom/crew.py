"""Who judges: this process alone, or the workers of a Dask cluster, of our own or somebody's."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from lab_app.classroom.work import OtherVersion, Task, judge
from lab_app.harness.verdict import Verdict
from lab_app.runner.jail import JailError
from lab_app.trouble import Trouble

if TYPE_CHECKING:
    from distributed import Client, Future

AHEAD = 2  # tasks a worker has waiting, so that it never waits for us, and a class never waits in memory
WORKERS_SECONDS = 60  # until somebody's cluster has the first one
DEATHS = 2  # workers that may die under a task before it is given up
SETTINGS = {
    "distributed.scheduler.allowed-failures": DEATHS,
    "distributed.comm.timeouts.connect": "30s",
    # What Dask did and measured is asked for by nobody, and would grow with the class.
    "distributed.admin.log-length": 100,
    "distributed.admin.low-level-log-length": 100,
    "distributed.admin.system-monitor.log-length": 100,
    "distributed.worker.profile.enabled": False,
}
Done = tuple[Task, dict[str, Verdict] | Exception]
Spread = Callable[[Iterator[Task]], Iterator[Done]]


class CrewError(Trouble):
    """The workers cannot be reached, or are gone; the text says what to do."""


@contextmanager
def crew(scheduler: str, workers: int) -> Iterator[Spread]:
    """Workers to spread tasks over: `workers` of our own, or those of the scheduler at an address. Raises CrewError."""
    if workers == 1 and not scheduler:
        yield alone
        return
    with settings():
        try:
            with joined(scheduler) if scheduler else hired(workers) as client:
                yield lambda tasks: spread(client, tasks)
        except (CancelledError, OSError) as error:
            if getattr(error, "errno", None) is not None and not isinstance(error, ConnectionError):
                raise  # the disk's, not Dask's, whose errors have no number
            raise CrewError("The scheduler went away. Run the same command again: it goes on from here.") from error


def alone(tasks: Iterator[Task]) -> Iterator[Done]:
    """Do the tasks here, one after the other. Raises JailError."""
    for task in tasks:
        yield task, judge(task)


def spread(client: "Client", waiting: Iterator[Task]) -> Iterator[Done]:
    """Have the workers do the tasks, as many at once as they can hold, and give each as it is done."""
    from distributed import as_completed

    doing: dict[Future[Any], Task] = {}

    def more() -> "list[Future[Any]]":
        room = max(0, AHEAD * size(client) - len(doing))  # less than none when a worker has died
        began = {client.submit(judge, task, pure=False): task for task in islice(waiting, room)}
        doing.update(began)
        return list(began)

    finished = as_completed(more())
    for future in finished:
        yield doing.pop(future), outcome(future)
        future.release()
        for new in more():
            finished.add(new)


def outcome(future: "Future[Any]") -> dict[str, Verdict] | Exception:
    """What became of a task: an error is its student's, and the others go on, unless it would be everybody's."""
    if future.status != "error":
        return dict(future.result())
    error = future.exception()
    if isinstance(error, JailError | OtherVersion):
        raise error
    return error if isinstance(error, Exception) else RuntimeError(str(error))


def size(client: "Client") -> int:
    """How many tasks the workers do at once, at least one."""
    return max(1, sum(map(int, client.nthreads().values())))


@contextmanager
def settings() -> Iterator[None]:
    """Dask's settings for as long as there are workers."""
    import dask
    import distributed  # noqa: F401 - its own settings come first, or they would go with ours

    for name in ("distributed", "distributed.client"):  # what matters of what they say comes as an exception, too
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with dask.config.set(SETTINGS):
        yield


@contextmanager
def hired(workers: int) -> "Iterator[Client]":
    """Workers on this machine. What they say to each other is encrypted: others may have accounts here."""
    from distributed import Client, LocalCluster

    folder = tempfile.mkdtemp(prefix="workbook-")
    try:
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                security=True,
                local_directory=folder,
                silence_logs=logging.CRITICAL,
                memory_limit=0,  # it would kill a worker for what its jails hold; they have limits of their own
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def joined(scheduler: str) -> "Iterator[Client]":
    """The workers of somebody's cluster. Keys for a tls:// address come from Dask's own configuration."""
    from distributed import Client
    from distributed.security import Security

    try:
        client = Client(scheduler, security=Security() if scheduler.startswith("tls:") else None, timeout="10s")
    except (OSError, ValueError, TypeError) as error:
        raise CrewError(f"No scheduler answers at {scheduler}: {str(error) or type(error).__name__}.") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except TimeoutError as error:
            raise CrewError(f"The scheduler at {scheduler} has no workers. Start some, and run this again.") from error
        yield client


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
