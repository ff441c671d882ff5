"""Collect an operator's mistakes, so that one run names all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from relay.errors import ConfigError, ConfigErrors

__all__ = ["Faults"]


class Faults:
    """The mistakes that were found so far."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note a mistake and go on behind the block."""
        try:
            yield
        except ConfigError as exc:
            self._found.append(exc)

    def raise_all(self, others: Sequence[str] = ()) -> None:
        """Raise ConfigError if there was a mistake; it names ``others``, too, which alone would be warnings."""
        if len(self._found) == 1 and not others:
            raise self._found[0]
        if self._found:
            faults = (one.faults if isinstance(one, ConfigErrors) else (str(one),) for one in self._found)
            raise ConfigErrors([*(fault for some in faults for fault in some), *others])
