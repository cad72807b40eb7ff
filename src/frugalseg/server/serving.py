"""Listening on this machine's own address, until Ctrl-C."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn

from frugalseg.errors import InputError
from frugalseg.jobs import Supervisor
from frugalseg.server.app import guarded, make_app
from frugalseg.server.context import Context

HOST = "127.0.0.1"
DEFAULT_PORT = 8377
PORTS_TRIED = 20


def serve(
    folder: Path,
    *,
    port: int | None = None,
    browser: bool = True,
    announce: Callable[[str, int], None] = lambda url, port: None,
) -> str:
    """Serve a project's page until Ctrl-C; returns the address, without its token.

    Parameters
    ----------
    folder
        The project.
    port
        0 takes any that is free; None the usual one, or a free one near it.
    browser
        Open the page.
    announce
        Takes the address with its token, and the port, as soon as the server listens.

    Raises
    ------
    InputError
        The folder is no project, or the port is taken.
    """
    context = Context.open(folder)
    listener = _listen(port)
    number = listener.getsockname()[1]
    token = secrets.token_urlsafe(32)
    address = f"http://{HOST}:{number}/"
    url = f"{address}?token={token}"
    config = uvicorn.Config(
        guarded(make_app(context), token=token, port=number),
        log_level="warning",
        access_log=False,  # addresses hold the token
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        ws="none",
    )
    supervisor = Supervisor(context.project).start()
    try:
        announce(url, number)
        if browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn has ended well, and passes the signal on
        pass
    finally:
        supervisor.stop()
        context.drawings.close()
        context.slides.close()
        listener.close()
    return address


def _listen(port: int | None) -> socket.socket:
    wanted = range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED) if port is None else [port]
    for each in wanted:
        # with the protocol said, asyncio turns Nagle's algorithm off, which would hold every answer back for 40 ms
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, each))
            listener.listen(128)
        except (OSError, OverflowError) as error:
            listener.close()
            reason = getattr(error, "strerror", None) or str(error)
            continue
        return listener
    where = f"port {port}" if port is not None else f"ports {wanted[0]}-{wanted[-1]}"
    raise InputError(where, f"cannot be listened on ({reason}); choose another: --port N")
