"""Take from relays the shortcuts of HTTP and of the pipe: ``pytest --ordinary-way`` puts this on PYTHONPATH.

Python imports a module of this name at its start, so that the relays that tests start go the ordinary way too. What
holds with the shortcuts must hold without them: they are the same rules, reached sooner.
"""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):  # programs of other environments have no relay
    from relay.endpoints.http.client.aiohttp_dial import Dial
    from relay.endpoints.http.server.streamable import StreamableHttp
    from relay.pipe import _Direction

    StreamableHttp.accept_at_once = lambda self, connection, message, body: False  # type: ignore[method-assign]
    Dial.pool = lambda self, tasks: None  # type: ignore[method-assign]
    _Direction.hand_on_at_once = lambda self: None  # type: ignore[method-assign]
