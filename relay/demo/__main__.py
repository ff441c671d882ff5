"""``python -m relay.demo``."""

from relay.demo.show import main

if __name__ == "__main__":
    raise SystemExit(main())
