"""One suite that every endpoint passes: ``await check_endpoint(make_pair)``. No test runner is needed.

A pair is an endpoint and whatever drives its peer: ``far`` sees what the endpoint sends and says what it receives, as
if it were the program at the other end. Capabilities say which laws a transport can show; none relaxes a law.

    pair.py   what a test gives: Pair, Far, Capabilities
    laws.py   what must hold
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
    """Run every law that the transport can show, each with a pair of its own.

    Raises AssertionError for the first that does not hold, TimeoutError for one that takes more than 15 seconds; a note
    of the exception says which.
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
