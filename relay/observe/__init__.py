"""What goes on in the relay, for whoever looks on."""
