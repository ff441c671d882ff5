"""What is likely to be a secret: by its name, or by its form where it has no name."""

from __future__ import annotations

import os
import re

__all__ = ["is_harmless_name", "is_secret_name", "is_secret_variable", "mask_tokens", "name_part"]

# Compiled by ``re`` when they are needed first, which most are not: 1 ms of start-up.
_ANYWHERE = "TOKEN|SECRET|PASSW|PASSPHRASE|KEY|CREDENTIAL|AUTH|COOKIE|SIG|JWT"
_AS_A_WORD = r"(?:^|_)(?:PAT|PASS|ACCESS)(?:_|$)|(?:PWD|DSN)$|(?:^|_)SESSION(?:_?ID)?$|(?:^|_)SESSIONID$"
_HARMLESS = (
    "ACCEPT(?:_LANGUAGE|_ENCODING)?|USER_AGENT|CONTENT_TYPE|MCP_PROTOCOL_VERSION"
    "|PATH|HOME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TERM|COLORTERM|SHELL|USER|LOGNAME|PWD|OLDPWD|TMPDIR|TEMP|TMP|DISPLAY"
    "|(?:XDG|GDM)_?[A-Z_]+|DESKTOP_SESSION|NODE_ENV|NODE_PATH|NO_COLOR|FORCE_COLOR|DEBUG|LOG_?LEVEL|RUST_LOG|VIRTUAL_ENV"
    "|PYTHON(?:UNBUFFERED|PATH|IOENCODING|UTF8|DONTWRITEBYTECODE)|HOST|PORT"
)
# Forms of tokens that services issue; each is anchored, so that none makes the search slow.
_TOKENS = (
    r"(?<![\w-])(?:gh[opsur]_\w{6,}|github_pat_\w{6,}|glpat-[\w-]{6,}|xox[a-z]-[\w-]{6,}|AKIA[A-Z0-9]{12,}"
    r"|eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?|(?:sk-|secret_)(?=[\w-]*\d)[\w-]{8,})"
)
_TOKEN_MARKS = (
    "ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_", "glpat-", "xox", "AKIA", "eyJ", "sk-", "secret_",
)  # fmt: skip
_LOGINS = r"(?<!\w)((?:Bearer|Basic) )(?=[\w.~+/-]*\d)[\w.~+/=-]{8,}"
_SHORTEST = 6
_PLAIN = r"(?i:[\d.,:+-]+|true|false)"


def is_harmless_name(name: str) -> bool:
    """Tell whether a variable or a header of this name is known to hold nothing secret."""
    return re.fullmatch(_HARMLESS, _in_capitals(name)) is not None


def is_secret_name(name: str) -> bool:
    """Tell whether a value of this name is likely to be a secret."""
    word = _in_capitals(name)
    is_one = re.search(_ANYWHERE, word) is not None or re.search(_AS_A_WORD, word) is not None
    return is_one and not is_harmless_name(name)


def is_secret_variable(name: str, value: str) -> bool:
    """Tell whether logs mask a server's variable: by its name, or because nothing shows that it is harmless.

    A number, a truth value, the path of a file that exists and a value of less than six characters stay readable.
    """
    if is_secret_name(name):
        return True
    is_told = is_harmless_name(name) or len(value) < _SHORTEST or re.fullmatch(_PLAIN, value) is not None
    return not is_told and not os.path.exists(value)


def mask_tokens(text: str) -> str:
    """Replace each text of a token's form by ``***``."""
    if any(mark in text for mark in _TOKEN_MARKS):
        text = re.sub(_TOKENS, "***", text)
    return re.sub(_LOGINS, r"\1***", text) if "Bearer " in text or "Basic " in text else text


def _in_capitals(name: str) -> str:
    return name.upper().replace("-", "_").replace(".", "_").strip("_")


def name_part(word: str) -> str:
    """Return the name in a word such as ``NAME=VALUE``: the value may be a secret."""
    return re.split(r"(?<=[:=])", word, maxsplit=1)[0]
