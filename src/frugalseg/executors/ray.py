"""Tasks on a Ray cluster: one of this machine alone, or one that runs already. The only module that knows Ray.

Two things Ray does not do by itself. Asked for the node address 127.0.0.1, Ray 2.60 on Linux takes the machine's outer
address instead and listens on all interfaces; it stays on the loopback interface only where it takes clusters for
impossible, as it does on Windows and macOS. And a cluster it starts has no secret of its own: here each one gets a new
token, known to its processes alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from frugalseg import __version__
from frugalseg.errors import ConfigError, TaskError
from frugalseg.executors.base import (
    RETRIES,
    Executor,
    Failure,
    attempt,
    environment,
    in_order,
    threads_each,
)
from frugalseg.processor import usable_cores

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_LOOPBACK = ("127.0.0.1", "localhost")
_NO_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # errors reach us as exceptions; these lines would go to stderr
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as all later versions; saves a warning
}
_DEBUGGER = "PYTHONBREAKPOINT"
_OBJECT_STORE = 256 << 20
_ANSWER_S = 5.0
_TOKEN_PLACES = "RAY_AUTH_TOKEN, in a file that RAY_AUTH_TOKEN_PATH names, or in ~/.ray/auth_token"


class RayExecutor(Executor):
    """Runs each task on one processor of a Ray cluster. A process has one such executor at a time.

    Parameters
    ----------
    address
        ``host:port`` of the head of a cluster of which this machine is a node; its nodes have the same frugalseg and
        the tasks' modules installed, and its token is where Ray looks for it. None starts a cluster of this machine
        alone, which ends with the executor.
    n_workers
        Tasks at once; 0 for as many as this process has cores, or the cluster has.

    Raises
    ------
    ConfigError
        Ray is not installed, no cluster answers at `address`, or it asks for another token.
    """

    def __init__(self, address: str | None = None, n_workers: int = 0) -> None:
        if address is not None:
            _check_address(address)
        with contextlib.ExitStack() as stack:
            n_local = n_workers or usable_cores()
            stack.enter_context(environment(_QUIET | (_own_cluster() if address is None else _joined())))
            ray = _import_ray()
            if ray.is_initialized():
                raise RuntimeError("Ray runs in this process already")
            stack.enter_context(_process_kept())
            stack.enter_context(_told_by_log())
            if address is None:
                settings = _own_settings(n_local, stack.enter_context(_session_folder()))
            else:
                settings = {"address": address}
            stack.callback(ray.shutdown, wait_for_processes=True)
            loopback = address is None or address.rpartition(":")[0] in _LOOPBACK
            with _stderr_silent(), _loopback(loopback), environment(_for_workers(n_local) if address is None else {}):
                _start(ray, address, settings)
            self._closing = stack.pop_all()
        self._ray = ray
        self._n_at_once = n_workers or sys.maxsize
        self._attempt = ray.remote(num_cpus=1, max_retries=RETRIES, retry_exceptions=False)(_attempt)

    def map(self, function: Callable[[T], R], tasks: Iterable[T], *, label: Callable[[T], str] = str) -> Iterator[R]:
        """Results from the cluster; see :meth:`Executor.map`."""
        with contextlib.closing(self._finish(function, list(tasks), label)) as finished:
            yield from in_order(finished)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._closing.close()

    def _finish(
        self, function: Callable[[T], R], tasks: Sequence[T], label: Callable[[T], str]
    ) -> Generator[tuple[int, R], None, None]:
        """Numbers and results of the tasks, in the order in which they become ready."""
        waiting = deque(range(len(tasks)))
        running: dict[Any, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._n_at_once:
                    index = waiting.popleft()
                    running[self._attempt.remote(__version__, function, tasks[index])] = index
                for done in self._ray.wait(list(running))[0]:
                    index = running.pop(done)
                    yield index, self._result(done, label(tasks[index]))
        finally:
            if self._ray.is_initialized():  # else all ended with the cluster
                for unfinished in running:
                    self._ray.cancel(unfinished, force=True)

    def _result(self, done: Any, label: str) -> Any:
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(done)
        except errors.RayTaskError as error:  # what cannot be imported there, or not be sent back
            raise Failure.of(error.cause or error).error(label) from None
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError) as error:
            reason = f"its worker process died {RETRIES + 1} times ({type(error).__name__})"
            raise TaskError(label, reason) from error
        except errors.RayError as error:
            raise Failure.of(error).error(label) from error
        if isinstance(answer, Failure):
            raise answer.error(label)
        return answer


def _attempt(version: str, function: Callable[[T], R], task: T) -> R | Failure:
    """Run a task on a node; one whose frugalseg is another would give results that are not comparable."""
    if version != __version__:
        return Failure(f"node {socket.gethostname()} has frugalseg {__version__}, not {version}")
    return attempt(function, task)


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise ConfigError("executor", "Ray is not installed: pip install 'frugalseg[ray]'") from None
    return ray


def _own_cluster() -> dict[str, str]:
    """Environment of a cluster of this machine: a token nobody else knows."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), _NO_CLUSTERS: "0"}


def _for_workers(n_workers: int) -> dict[str, str]:
    """What processes of our own cluster inherit: they import what we can import, and share the cores."""
    return {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
        "OMP_NUM_THREADS": str(threads_each(n_workers)),
    }


def _joined() -> dict[str, str]:
    """Environment for joining a cluster: with a token, unless its user has chosen another way."""
    return {"RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}


def _own_settings(n_workers: int, folder: str) -> dict[str, Any]:
    return {
        "address": "local",
        "num_cpus": n_workers,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE,
        "_node_ip_address": _LOOPBACK[0],
        "_temp_dir": folder,
        "_system_config": {"task_oom_retries": RETRIES},  # without it, a task too large for memory runs for ever
    }


def _start(ray: Any, address: str | None, settings: dict[str, Any]) -> None:
    """``ray.init``, its complaints in our words."""
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")  # Ray keeps mode and token of an earlier cluster otherwise
    AuthenticationTokenLoader.instance().reset_cache()
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
    except ray.exceptions.AuthenticationError:
        raise ConfigError("ray-address", f"the token of {address} is needed, in {_TOKEN_PLACES}") from None
    except (OSError, RuntimeError) as error:
        if address is None:
            raise ConfigError("executor", f"Ray does not start: {error}") from error
        hint = f"is this machine a node of it, and is its token in {_TOKEN_PLACES}?"
        raise ConfigError("ray-address", f"cannot join the Ray cluster at {address}; {hint}") from error


@contextlib.contextmanager
def _loopback(wanted: bool) -> Iterator[None]:
    """Let Ray take 127.0.0.1 for what it is; see the head of this module."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not wanted
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def _told_by_log() -> Iterator[None]:
    """Bring Ray's news of dead workers and nodes to our log, a sentence each; it would print them on stdout."""
    from ray._private import worker

    def tell(news: dict[str, Any], **_: Any) -> None:
        sentence = " ".join(map(str, news.get("lines", []))).partition(". ")[0]
        if not sentence.startswith("Task "):  # which says the same again, with a name of ours
            log.warning("Ray: %s", sentence)

    before = worker.print_to_stdstream
    worker.print_to_stdstream = tell
    try:
        yield
    finally:
        worker.print_to_stdstream = before


@contextlib.contextmanager
def _stderr_silent() -> Iterator[None]:
    """Drop what Ray's C++ part says while it starts: that it was told to be silent."""
    sys.stderr.flush()
    before = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)


@contextlib.contextmanager
def _session_folder() -> Iterator[str]:
    """A folder of our own for Ray's sockets and logs; its path is short, for a socket's has 107 bytes at most."""
    roomy = os.name == "nt" or len(tempfile.gettempdir()) < 20
    place = None if roomy else "/tmp"
    with tempfile.TemporaryDirectory(prefix="fs-ray-", dir=place, ignore_cleanup_errors=True) as folder:
        yield folder


@contextlib.contextmanager
def _process_kept() -> Iterator[None]:
    """Give back what Ray takes for itself: SIGTERM, and ``breakpoint()``, which would wait at a port."""
    handler, debugger = signal.getsignal(signal.SIGTERM), os.environ.get(_DEBUGGER)
    try:
        yield
    finally:
        if debugger is None:
            os.environ.pop(_DEBUGGER, None)
        else:
            os.environ[_DEBUGGER] = debugger
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536 or "/" in host:
        raise ConfigError("ray-address", f"{address!r} is not host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except OSError as error:
        raise ConfigError("ray-address", f"nothing answers at {address} ({error.strerror or error})") from None
