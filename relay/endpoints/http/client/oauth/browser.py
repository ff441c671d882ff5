"""Open the person's browser: in a process of its own, with nothing of the relay's.

Python's ``webbrowser`` knows the browsers of each system, and ``BROWSER``. It may wait for a browser to end, and a
browser may write to stdout, which is the protocol's here. So a short program runs it, with no stdin, stdout or secrets.
"""

from __future__ import annotations

import asyncio
import os
import sys
from urllib.parse import urlsplit

from relay.auth.outbound.oauth.urls import check_endpoint

__all__ = ["has_browser", "open_browser"]

_PROGRAM = """
import os, sys, webbrowser
if hasattr(os, "fork") and os.fork():
    os._exit(0)
webbrowser.open(sys.argv[1])
"""
"""Ends at once, and leaves the browser to a process that is nobody's child."""
_KEPT = frozenset(
    (
        "BROWSER", "DBUS_SESSION_BUS_ADDRESS", "DESKTOP_SESSION", "DISPLAY", "HOME", "LANG", "LOGNAME", "PATH",
        "SHELL", "TEMP", "TERM", "TMP", "TMPDIR", "USER", "WAYLAND_DISPLAY", "XAUTHORITY",
        # Windows
        "APPDATA", "COMSPEC", "LOCALAPPDATA", "PATHEXT", "PROGRAMDATA", "PROGRAMFILES", "SYSTEMDRIVE", "SYSTEMROOT",
        "USERPROFILE", "WINDIR",
        # Linux inside Windows
        "WSLENV", "WSL_DISTRO_NAME", "WSL_INTEROP",
    )
)  # fmt: skip
_KEPT_PREFIXES = ("LC_", "XDG_", "GNOME_", "KDE_")


def has_browser() -> bool:
    """Tell whether a browser can be expected here."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"))


async def open_browser(url: str, *, allow_http: bool = False) -> None:
    """Ask the system to show a URL. Raises UnusableUrl and OSError."""
    url = urlsplit(check_endpoint(url, allow_http=allow_http)).geturl()
    environment = {
        name: value for name, value in os.environ.items() if name.upper() in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", _PROGRAM, url,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )  # fmt: skip
    await process.wait()
