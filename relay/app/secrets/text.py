"""Text with its secrets masked: known secrets, texts of a token's form, and values whose name tells.

Most of the text comes from peers, and is masked on the event loop. So each search is linear in any text, and runs only
if a word that it needs is there. A line of 8 KiB costs some 0.05 ms, the worst that is known 2 ms.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import AnyStr

from relay.app.secrets.names import mask_tokens

__all__ = ["mask_secrets", "start_of"]

_MEMBER_NAMES = (
    "authorization", "cookie", "token", "secret", "password", "apikey", "api-key", "api_key", "code_verifier",
    "client_assertion",
)  # fmt: skip
# The pattern searches a name once, from its first quote, and never backtracks: to try a closing quote for each
# "token" in the name took 65 ms for 8 KiB.
_ANY_NAME = "|".join(_MEMBER_NAMES)
_SECRET_MEMBERS = (
    rf'("[^"acpst]*+(?:(?!{_ANY_NAME})[acpst][^"acpst]*+)*+(?:{_ANY_NAME})[^"]*+"\s*+:\s*+")'
    r'[^"\\]*+(?:\\.[^"\\]*+)*+"?'  # the closing quote may have been cut off
)
_NAME = r"[^?&=;\s\"'<>\\]{0,64}"  # bounded: two of them in a row must not make the search slow
_SECRET_PARAMETERS = (
    r"((?:[?&;]|\\u0026)"  # as some write & in JSON
    rf"(?:code|{_NAME}(?:key|sig|pwd|jwt)|{_NAME}(?:token|secret|passw|auth|credential|signature){_NAME})=)"
    r"[^&#;\s\"'<>\\]+"
)
_PARAMETER_NAMES = (
    "code=", "key=", "sig=", "pwd=", "jwt=", "token", "secret", "passw", "auth", "credential", "signature",
)  # fmt: skip
_PASSWORD_IN_URL = re.compile(r"(://[^/?#@:\s\"]{0,256}:)[^/?#@\s\"]{1,1024}(?=@)")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile it when it is needed first, which it mostly is not: 1 ms of start-up."""
    return re.compile(pattern, re.IGNORECASE)


def mask_secrets(text: str, secrets: Iterable[str]) -> str:
    """Replace known secrets, texts of a token's form, and JSON members and URL parameters with a secret's name."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = mask_tokens(text)
    lower = text.lower()
    if "=" in text and any(name in lower for name in _PARAMETER_NAMES):
        text = _compiled(_SECRET_PARAMETERS).sub(r"\1***", text)
    if "@" in text and "://" in text:
        text = _PASSWORD_IN_URL.sub(r"\1***", text)
    if '"' in text and any(name in lower for name in _MEMBER_NAMES):
        text = _compiled(_SECRET_MEMBERS).sub(r'\1***"', text)
    return text


def start_of(text: AnyStr, secrets: Iterable[AnyStr], most: int) -> AnyStr:
    """Return the first ``most`` characters, or fewer: half a secret at the end would not be masked."""
    if len(text) <= most:
        return text
    cut = most
    for secret in secrets:
        at = text.find(secret, max(0, most - len(secret) + 1), most + len(secret) - 1)
        cut = at if 0 < at < cut else cut
    return text[:cut]
