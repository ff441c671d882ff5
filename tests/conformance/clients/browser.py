"""A browser for logins in tests: it opens the address by plain HTTP and follows its redirects. The person agrees."""

from __future__ import annotations

import sys
import urllib.request

if __name__ == "__main__":
    urllib.request.urlopen(sys.argv[-1], timeout=20).read()
