"""Show an address without the parts that may be secret: its login, its query and its fragment.

Every place that shows an address uses this: endpoint and task names, ``/status``, errors, logs and reports.
"""

from __future__ import annotations

import re

__all__ = ["fault_of_url", "shown_address", "without_logins"]

_AUTHORITY_ENDS = re.compile(r"[/?#\\]")
_HOST = r"(?:\[[^\[\]@]*\]|[^@:\[\]]*)(?::\d*)?"
_ADDRESS = r"[a-zA-Z][a-zA-Z0-9+.-]{0,31}://[^\s\"'<>]+"


def shown_address(address: str) -> str:
    """Return an address without its secret parts; return text that is not an address as it is."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    end = _AUTHORITY_ENDS.search(rest)
    authority, tail = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    if "@" not in authority and "@" in tail and re.fullmatch(_HOST, authority) is None:
        # A password with a bare "/", "?" or "#", which should be %2F and so on: an invalid URL, but still a secret.
        return shown_address(f"{scheme}://{rest.rpartition('@')[2]}")
    path = re.split(r"[?#]", tail, maxsplit=1)[0]
    return f"{scheme}://{authority.rpartition('@')[2]}{path}"


def without_logins(text: str) -> str:
    """Return a text, such as that of a library's exception, with the secret parts of its addresses removed."""
    return re.sub(_ADDRESS, lambda found: shown_address(found[0]), text) if "://" in text else text


def fault_of_url(exc: ValueError) -> str:
    """Return what is wrong with an invalid URL; the exception's own text may quote a password."""
    text = str(exc)
    if "ort" in text:
        return "its port is not a number from 0 to 65535"
    if "IP" in text or "racket" in text:
        return "the address in its brackets is no IPv6 address, or a bracket is missing"
    return "its host cannot be read"
