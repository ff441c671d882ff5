"""The far end of the serve path without a compiler; see native/far_stdio.c."""

import sys

from bench.fallback.plain_echo import answer_frame


def main() -> None:
    """Answer line by line until stdin ends."""
    for line in sys.stdin.buffer:
        for frame in answer_frame(line):
            sys.stdout.buffer.write(frame + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
