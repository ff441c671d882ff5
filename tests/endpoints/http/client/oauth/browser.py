"""A browser for the tests, as BROWSER names one: opens an address, follows its redirects, and shows nothing.

With the second word "away", nobody looks at the window.
"""

import sys
import urllib.request

if __name__ == "__main__" and "away" not in sys.argv[2:]:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=30).read()
