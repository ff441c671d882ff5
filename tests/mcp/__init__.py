"""Tests of the MCP rules about frames."""
