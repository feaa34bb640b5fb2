"""The executor on Ray: a local one, or a cluster that is there already.

Cells run as tasks. The problem goes into the object store once and each worker process
unpacks it once. A task lost with its worker or node is run again a few times; since a cell
depends on nothing but its inputs, a second run gives the same bytes.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.execute.batches import Batches
from scheduler.execute.cell import Cell, ExecutionError, ReplayResult, Settings, run_batch

RETRIES: Final = 3
"""Times a task is run again after its worker, its node or its memory was lost."""

LOCAL: Final = "local"
"""The address that starts a Ray here, in Ray's own words."""

STARTS: Final = 2
"""Times that a local Ray is started: on a busy machine its own deadlines pass now and then."""

CONNECT_TIMEOUT_S: Final = 5.0

WORKER_BYTES: Final = 512 * 2**20
WORKER_BYTES_PER_JOB: Final = 4096
"""Memory a worker claims: the solver's libraries, and what the engine keeps per job."""

STORE_BYTES: Final = 128 * 2**20
STORE_BYTES_PER_JOB: Final = 512

SOCKET_NAME_BYTES: Final = 75
SOCKET_PATH_BYTES: Final = 107
"""What Ray adds to its folder to name a socket, and the most that Linux takes."""

_ENVIRONMENT: Final[Mapping[str, str]] = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": str(RETRIES),  # Ray's own default is to retry for ever
    "OMP_NUM_THREADS": "1",  # there is one worker per core already
}
"""For Ray's processes; what the user has set comes first."""

_log = logging.getLogger(__name__)

Outcome = tuple[float, list[ReplayResult]]


def is_available() -> bool:
    """Return whether Ray is installed, without importing it."""
    return importlib.util.find_spec("ray") is not None


def stream(
    problem: Problem,
    cells: Sequence[Cell],
    settings: Settings,
    *,
    address: str | None = None,
    ordered: bool = False,
) -> Generator[tuple[int, ReplayResult]]:
    """Yield the position and result of each cell, as they finish.

    Parameters
    ----------
    problem, cells, settings
        What to run.
    address : str or None
        Address of a running Ray cluster (``host:6379``, ``auto``); None: the one that
        ``RAY_ADDRESS`` names, else a local one, which stays up until the process ends.
    ordered : bool
        Whether cells should finish about as listed, policies side by side.

    Raises
    ------
    InputError
        There is no cluster at `address`, or this process cannot join it.
    ExecutionError
        A local Ray does not start, or a cell was lost too often.
    """
    jobs = len(problem.workload.jobs)
    ray, joined = connect(address, STORE_BYTES + STORE_BYTES_PER_JOB * jobs)
    task = ray.remote(shipped(run_names, joined=joined)).options(
        num_cpus=1,
        max_retries=RETRIES,
        memory=min(WORKER_BYTES + WORKER_BYTES_PER_JOB * jobs, largest_node_bytes(ray)),
    )
    shared = ray.put((problem, settings))
    try:
        yield from _drain(ray, task, shared, cells, ordered)
    except ray.exceptions.OutOfMemoryError:
        raise ExecutionError(
            "the workers ran out of memory; fewer jobs (--select), fewer workers "
            "or --executor local needs less"
        ) from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError):
        raise ExecutionError(f"a replay was lost with its worker {RETRIES + 1} times") from None
    except ray.exceptions.RayTaskError as error:
        raise unwrapped(error) from None
    except GeneratorExit:  # the reader has enough
        raise
    except BaseException:  # Ctrl-C: running tasks end with their driver
        ray.shutdown()
        raise


def _drain(
    ray: Any, task: Any, shared: Any, cells: Sequence[Cell], ordered: bool
) -> Iterator[tuple[int, ReplayResult]]:
    slots = max(1, int(ray.cluster_resources().get("CPU", 1)))
    batches = Batches(cells, slots, slowest_first=not ordered)
    flying: dict[Any, tuple[int, ...]] = {}
    try:
        while True:
            # One more than the slots, so that a worker never waits for its next batch.
            while len(flying) <= slots and (batch := batches.next()):
                names = [(cells[i].policy, cells[i].seed) for i in batch]
                flying[task.remote([shared], names)] = batch
            if not flying:
                return
            done, _ = ray.wait(list(flying), num_returns=1)
            for reference in done:
                batch = flying.pop(reference)
                seconds, results = ray.get(reference)
                batches.record(cells[batch[0]].policy, len(batch), seconds)
                yield from zip(batch, results, strict=True)
    finally:
        for reference in flying:
            ray.cancel(reference, force=True)


def connect(address: str | None, store_bytes: int) -> tuple[Any, bool]:
    """Return Ray, connected, and whether to a cluster that was there before; see `stream`.

    Parameters
    ----------
    address : str or None
        As in `stream`.
    store_bytes : int
        Shared memory for objects, where a local Ray is started.
    """
    named_by = "--address" if address else "RAY_ADDRESS"
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    if address == LOCAL:
        return _start(store_bytes), False
    return _join(address, named_by), True


def shipped(function: Callable[..., Any], *, joined: bool) -> Callable[..., Any]:
    """Return a function for Ray that imports a function of this package there and calls it.

    It travels by value. Ray puts the driver's current folder in front of each worker's path,
    where any folder called ``scheduler`` would hide this package: in a checkout, after a plain
    install, the workers would run other code than the driver. So the path is set right before
    the import.
    """
    module, name = function.__module__, function.__name__
    here = [] if joined else [str(p) for p in sys.path]
    unwanted = [str(Path.cwd()), os.path.realpath(Path(sys.argv[0]).parent)] if joined else []

    def task(*arguments: Any) -> Any:
        import importlib
        import sys

        rest = [p for p in sys.path if p not in here and p not in unwanted]
        sys.path[:] = [*here, *rest]
        return getattr(importlib.import_module(module), name)(*arguments)

    return task


_unpacked: tuple[str, Problem, Settings] | None = None


def unpacked(held: Sequence[Any]) -> tuple[Problem, Settings]:
    """Return, inside a worker, what the one reference in `held` refers to."""
    global _unpacked  # noqa: PLW0603  (kept between the tasks of one worker process)
    (shared,) = held
    if _unpacked is None or _unpacked[0] != shared.hex():
        _unpacked = None  # never two problems at once
        ray = importlib.import_module("ray")
        _unpacked = (shared.hex(), *ray.get(shared))
    return _unpacked[1:]


def run_names(held: Sequence[Any], names: Sequence[tuple[str, int]]) -> Outcome:
    """Run cells inside a worker; `held` refers to the problem and the settings."""
    problem, settings = unpacked(held)
    return run_batch(problem, [Cell(*name) for name in names], settings)


_connected_to: str | None = None
"""The address that this module connected to; None: not it, or nobody yet."""


def _connected(ray: Any, address: str) -> bool:
    """Return whether Ray is up and at `address`; a connection of ours to another is closed.

    A Ray that the calling program has set up itself is taken as it is.
    """
    if ray.is_initialized() and _connected_to not in (None, address):
        ray.shutdown()
    return bool(ray.is_initialized())


def _start(store_bytes: int) -> Any:
    """Start a local Ray once per process."""
    global _connected_to  # noqa: PLW0603
    ray = _imported()
    if not _connected(ray, LOCAL):
        _start_local(ray, {}, object_store_memory=store_bytes)
        _connected_to = LOCAL
    return ray


def start_apart(environment: Mapping[str, str], **options: Any) -> Any:
    """Start a local Ray for one purpose; a connection that this module made is closed first.

    Parameters
    ----------
    environment : mapping of str to str
        For its processes, besides what every local Ray gets.
    **options
        For ``ray.init``: resources, cores.

    Raises
    ------
    ExecutionError
        It does not start, or the calling program has a Ray of its own.
    """
    global _connected_to  # noqa: PLW0603
    ray = _imported()
    if ray.is_initialized() and _connected_to is None:
        raise ExecutionError("this process is connected to a Ray of its own; shut that down first")
    ray.shutdown()
    _start_local(ray, environment, object_store_memory=STORE_BYTES, **options)
    _connected_to = "apart"
    return ray


def _imported() -> Any:
    try:
        return importlib.import_module("ray")
    except (ImportError, OSError) as error:
        raise ExecutionError(f"Ray cannot be imported here ({reason(error)})") from error


def _start_local(ray: Any, environment: Mapping[str, str], **options: Any) -> None:
    """Start a local Ray: no dashboard, no telemetry, its token kept."""
    wanted = {**_ENVIRONMENT, **environment}
    added = {k: v for k, v in wanted.items() if k not in os.environ}
    os.environ.update(added)  # inherited by Ray's processes
    try:
        for attempt in range(1, STARTS + 1):
            try:
                ray.init(
                    address=LOCAL,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **options,
                    **_short_folder(),
                )
                return
            except Exception as error:  # Ray raises bare exceptions here
                ray.shutdown()
                if attempt == STARTS:
                    raise ExecutionError(
                        f"Ray does not start here ({reason(error)}; --executor local does without)"
                    ) from error
    finally:
        for name in added:
            os.environ.pop(name, None)


def _short_folder() -> dict[str, str]:
    """Return a folder option where Ray's default would make socket names too long."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    if len(os.fsencode(folder)) + len("/ray") + SOCKET_NAME_BYTES <= SOCKET_PATH_BYTES:
        return {}
    return {"_temp_dir": "/tmp/ray"}  # noqa: S108 (Ray's own choice where TMPDIR is not set)


def _join(address: str, named_by: str) -> Any:
    """Join the cluster at `address`, shipping this package to its workers."""
    global _connected_to  # noqa: PLW0603
    _check_reachable(address, named_by)
    ray = importlib.import_module("ray")
    if _connected(ray, address):
        return ray
    package = Path(__file__).resolve().parents[1]
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={
                "py_modules": [str(package)],
                "excludes": ["**/__pycache__"],
                "env_vars": {"OMP_NUM_THREADS": _ENVIRONMENT["OMP_NUM_THREADS"]},
            },
        )
    except Exception as error:
        message = f"cannot join the Ray cluster: {reason(error)}"
        allowed = ""
        if "Failed to connect" in message and not _has_token():
            allowed = "its token and RAY_AUTH_MODE=token here, if it asks for one"
        raise InputError([Fault(message, named_by, value=address, allowed=allowed)]) from error
    _connected_to = address
    if not _has_token():
        _log.warning("this Ray cluster asks for no token: whoever reaches it can run code there")
    return ray


def _has_token() -> bool:
    """Return whether this process shows a token; Ray sets the mode where it found one."""
    return os.environ.get("RAY_AUTH_MODE", "") == "token"


def _check_reachable(address: str, named_by: str) -> None:
    """Fail within seconds where nothing answers; Ray itself tries for minutes."""
    plain = address.removeprefix("ray://")
    if plain == "auto":
        return
    host, _, port = plain.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        allowed = "host:port (the head node, usually port 6379), ray://host:port, auto"
        message = "not an address of a Ray cluster"
        raise InputError([Fault(message, file=named_by, value=address, allowed=allowed)])
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        message = f"no Ray cluster answers there ({error.strerror or error})"
        raise InputError([Fault(message, file=named_by, value=address)]) from None


def largest_node_bytes(ray: Any) -> int:
    """Return the memory of the largest node: a task that claims more would wait for ever."""
    nodes = [n["Resources"].get("memory", 0) for n in ray.nodes() if n["Alive"]]
    return int(max(nodes, default=0)) or WORKER_BYTES


def unwrapped(error: Any) -> Exception:
    """Return what a task raised, as if it had happened in this process."""
    cause = error.cause
    if isinstance(cause, ModuleNotFoundError):
        return ExecutionError(f"the Ray cluster's machines lack the Python package {cause.name!r}")
    return cause if isinstance(cause, Exception) else ExecutionError(str(error))


def reason(error: BaseException) -> str:
    """Return what Ray says of an error, in one line."""
    text = str(error).strip() or type(error).__name__
    if text.startswith("Version mismatch"):  # which versions is said on the lines that follow
        return " ".join(text.split())[:400]
    return text.splitlines()[0][:200]
