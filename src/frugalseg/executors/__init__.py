"""Many tasks at once: in this process, in several, or on a Ray cluster; one protocol, one module each."""

from __future__ import annotations

from collections.abc import Callable

from frugalseg.errors import ConfigError
from frugalseg.executors.base import RETRIES, Executor
from frugalseg.executors.processes import ProcessExecutor
from frugalseg.executors.serial import SerialExecutor

__all__ = ["EXECUTORS", "RETRIES", "Executor", "open_executor"]


def _serial(n_workers: int, address: str | None) -> Executor:
    _refuse_address("serial", address)
    if n_workers > 1:
        raise ConfigError("workers", "the serial executor has one")
    return SerialExecutor()


def _processes(n_workers: int, address: str | None) -> Executor:
    _refuse_address("processes", address)
    return ProcessExecutor(n_workers)


def _ray(n_workers: int, address: str | None) -> Executor:
    from frugalseg.executors.ray import RayExecutor

    return RayExecutor(address, n_workers)


EXECUTORS: dict[str, Callable[[int, str | None], Executor]] = {
    "serial": _serial,
    "processes": _processes,
    "ray": _ray,
}
"""Every way of running tasks: from a number of workers (0: all cores) and the address of a cluster."""


def open_executor(name: str, n_workers: int = 0, address: str | None = None) -> Executor:
    """An executor by name, to be closed after use (``with``).

    Parameters
    ----------
    name
        One of `EXECUTORS`.
    n_workers
        Tasks at once; 0 for as many as this process has cores, on an existing Ray cluster as many as the cluster has.
    address
        ``host:port`` of the head of a Ray cluster that runs already; None starts one on this machine. Only for ``ray``.

    Raises
    ------
    ConfigError
        There is no such executor, its library is missing, or an argument does not suit it.
    """
    if name not in EXECUTORS:
        raise ConfigError("executor", f"{name!r} is unknown; there are {', '.join(EXECUTORS)}")
    if n_workers < 0:
        raise ConfigError("workers", f"must be 0 (all cores) or more, not {n_workers}")
    return EXECUTORS[name](n_workers, address)


def _refuse_address(name: str, address: str | None) -> None:
    if address is not None:
        raise ConfigError("ray-address", f"the executor {name!r} takes none; choose ray")
