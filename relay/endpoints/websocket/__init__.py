"""WebSocket, dialled and accepted: one text message is one frame."""
