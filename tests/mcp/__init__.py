"""Tests of what MCP says of frames."""
