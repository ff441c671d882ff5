"""``python -m relay``: the program ``mcp-relay``."""

import sys

from relay.cli import main

sys.exit(main())
