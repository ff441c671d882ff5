"""Run under systemd: sockets that it opens for the relay, and states that the relay reports."""
