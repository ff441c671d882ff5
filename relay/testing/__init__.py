"""One suite that every endpoint passes: ``await check_endpoint(make_pair)``. No test runner is needed.

A pair is an endpoint and its peer. ``far`` plays the program at the other end: it sees what the endpoint sends, and
sends what the endpoint receives. Capabilities tell which laws a transport can show; no capability relaxes a law.

    pair.py   what a test supplies: Pair, Far, Capabilities
    laws.py   the laws
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from relay.limits import Limits
from relay.testing.laws import laws_for
from relay.testing.pair import CHECK_LIMITS, Capabilities, Far, Pair, far_of, joined

__all__ = ["CHECK_LIMITS", "Capabilities", "Far", "MakePair", "Pair", "check_endpoint", "far_of", "joined"]

MakePair = Callable[[Limits], AbstractAsyncContextManager[Pair]]
"""Called with the limits for the endpoint, once for each law."""


async def check_endpoint(make_pair: MakePair, capabilities: Capabilities | None = None) -> None:
    """Run every law that the transport can show, each with a new pair.

    Raises AssertionError for the first law that does not hold, and TimeoutError for a law that takes more than 15
    seconds. A note of the exception names the law.
    """
    can = capabilities or Capabilities()
    for law, is_shown in laws_for(can):
        if not is_shown:
            continue
        try:
            async with asyncio.timeout(15), make_pair(CHECK_LIMITS) as pair:
                await law(pair, can)
                await pair.near.aclose()
                await pair.near.aclose()
        except BaseException as exc:
            exc.add_note(f"check_endpoint: {law.__name__}: {law.__doc__}")
            raise
