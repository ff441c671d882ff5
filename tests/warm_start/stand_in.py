"""Stand in for a program: ``stand_in.py ADDRESS WORDS…`` has it forked (server.py) and ends as it ends.

The program has our descriptors 0 to 2, our environment and our folder. We hold none of its pipes, pass on the signals
that end a program in order, and where we are killed it is killed.
"""

import _signal as signal  # type: ignore[import-not-found]  # a C module without types
import _socket as socket
import marshal
import os
import sys

# The modules of those names, and json, would take longer to import than all else takes.


def main() -> int:
    """Return the program's exit code, or end by the signal that ended it."""
    address, *words = sys.argv[1:]
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(address.replace("@", "\0"))
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # one that comes before we know whom to tell
    request = {
        "words": words,
        "env": {**os.environ},
        "cwd": os.getcwd(),
        "ours": False,
        "session": False,
        "group": -1,
    }
    descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
    connection.sendmsg([marshal.dumps(request, 2)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    process = int(connection.recv(64))
    for one in signals:
        signal.signal(one, lambda number, _: os.kill(process, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    code = int(connection.recv(64) or -signal.SIGKILL)  # the server has gone: so has the program's reason
    if code < 0:
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main())
