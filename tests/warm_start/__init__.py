"""Start Python programs from an interpreter that has imported them already: a fork instead of 0.2 to 0.6 s of imports.

A test that is not about the start itself starts its relays, its servers and its clients here:

    process = warm_start.Popen([sys.executable, "-m", "relay", …], stdin=…, env=…)   # as subprocess.Popen
    process = await warm_start.Process.start(sys.executable, "-m", "relay", …)       # as asyncio's, on any loop
    words = warm_start.stand_in([sys.executable, "-m", "relay", …])                  # for others to start

The first two give a child of this process, with its own process id, descriptors 0 to 2, environment and folder; the
program runs as its command line says. `server.py` is the process that forks: one for each interpreter, in each worker
of pytest-xdist. The third is for a client of an SDK, or a relay, that starts the program itself: `stand_in.py` is
small, asks for the program, and passes on signals and the exit code.

What a fork cannot show is the command line in /proc and what an import costs or says. `RELAY_TESTS_EXEC=1` starts
everything as users do; so do coverage, other systems than Linux, and variables that the interpreter itself reads.
"""

from tests.warm_start.popen import Popen, is_own, run, stand_in
from tests.warm_start.process import Process

__all__ = ["Popen", "Process", "is_own", "run", "stand_in"]
