"""Say what a program finds when it starts, as JSON, and end as told: ``probe.py [END]``."""

import atexit
import json
import os
import random
import signal
import sys
import threading

found = {
    "argv": sys.argv,
    "name": __name__,
    "path": sys.path[0],
    "cwd": os.getcwd(),
    # The two are readline's, behind the back of Python's own environment.
    "environ": {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")},
    "parent": os.getppid(),
    "leads a session": os.getsid(0) == os.getpid(),
    "leads a group": os.getpgid(0) == os.getpid(),
    "descriptors": [int(one) for one in os.listdir("/proc/self/fd") if int(one) < 64][:-1],  # the last is the listing's
    "streams": [(one.fileno(), one.encoding, one.errors) for one in (sys.stdin, sys.stdout, sys.stderr)],
    "by line": [sys.stdin.line_buffering, sys.stdout.line_buffering, sys.stderr.line_buffering],
    "at once": [getattr(one, "write_through", None) for one in (sys.stdin, sys.stdout, sys.stderr)],
    "signals": [str(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP)],
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "threads": threading.active_count(),
    "said": sys.stdin.read(),
}
end = (sys.argv + ["0"])[1]
sys.stdout.write(json.dumps([found, os.getpid(), random.random()]))
sys.stderr.write("é\n")
atexit.register(lambda: sys.stderr.write("the end\n"))
if end.isdecimal():
    sys.exit(int(end))
elif end == "words":
    sys.exit("words")
elif end == "raise":
    raise ValueError("raised")
elif end == "interrupt":
    signal.raise_signal(signal.SIGINT)
elif end == "kill":
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
elif end == "thread":
    threading.Timer(0.05, sys.stdout.write, [" "]).start()
