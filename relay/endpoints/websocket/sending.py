"""Mask and send a large WebSocket message piece by piece, because aiohttp copies the whole message twice."""

from __future__ import annotations

import os
from typing import Any

from aiohttp import ClientConnectionResetError, WSMsgType

from relay.endpoints.http import aiohttp_private
from relay.endpoints.http.aiohttp_private import websocket_mask

__all__ = ["send_masked"]

_LARGE = 256 * 1024  # bytes; a multiple of the mask's size
_KEY, _LENGTH = 4, 8  # sizes in bytes: the mask, and a large frame's length field
_WHOLE_TEXT, _MASKED_AND_LARGE = 0x81, 0xFF


async def send_masked(writer: Any, message: bytes) -> None:
    """Send a text message through ``writer``, the aiohttp writer of a client's WebSocket."""
    if len(message) <= _LARGE or not aiohttp_private.has("websocket"):
        await writer.send_frame(message, WSMsgType.TEXT)
        return
    if writer._closing:
        raise ClientConnectionResetError("the connection is closing")
    mask, whole = os.urandom(_KEY), memoryview(message)
    writer.transport.write(bytes((_WHOLE_TEXT, _MASKED_AND_LARGE)) + len(message).to_bytes(_LENGTH, "big") + mask)
    for at in range(0, len(message), _LARGE):
        piece = bytearray(whole[at : at + _LARGE])
        websocket_mask(mask, piece)
        writer.transport.write(piece)
    if writer.protocol._paused:
        await writer.protocol._drain_helper()
