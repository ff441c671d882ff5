"""A process that makes calls with a kept login, at a word on its stdin. Prints one JSON line of counts.

python -m tests.endpoints.http.client.oauth.caller URL STORE CALLS
"""

from __future__ import annotations

import asyncio
import json
import sys

from relay.auth.outbound.oauth.options import OAuthOptions
from relay.endpoints.http.client.oauth.credentials import OAuthCredentials
from tests.endpoints.http.client.oauth.house import call_often


def tell(line: str) -> None:
    """Show a line at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


async def main(url: str, store: str, calls: int) -> None:
    """Make the calls at once."""
    credentials = OAuthCredentials(url, OAuthOptions(store_dir=store), tell=tell)
    answers = await call_often(url, credentials, calls)
    await credentials.aclose()
    good = sum("result" in answer for answer in answers)
    faults = sorted({str(answer["error"]) for answer in answers if "error" in answer})
    sys.stdout.write(json.dumps({"good": good, "faults": faults}) + "\n")


if __name__ == "__main__":
    sys.stdin.readline()
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
