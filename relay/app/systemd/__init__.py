"""Run under systemd: the sockets that it opens for the relay, and the states that it is told."""
