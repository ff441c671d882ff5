"""WebSocket, dialled and accepted; each text message is one frame."""
