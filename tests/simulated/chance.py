"""Where the simulator's choices come from: a seed, for many quick runs that replay, or Hypothesis, which makes a failure small."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st


class Chance:
    """A source of choices."""

    def below(self, count):
        """A number from 0 on, less than the count."""
        raise NotImplementedError

    def one(self, options):
        return options[self.below(len(options))]

    def odds(self, percent):
        """True so often."""
        return self.below(100) >= 100 - percent

    def some(self, options, most):
        """Up to so many of the options, in their order; none of none."""
        found = {self.below(len(options)) for _ in range(self.below(most + 1))} if options else set()
        return [options[index] for index in sorted(found)]

    def shuffled(self, items):
        left, out = list(items), []
        while left:
            out.append(left.pop(self.below(len(left))))
        return out


class Seeded(Chance):
    def __init__(self, seed):
        self._random = Random(seed)

    def below(self, count):
        return int(self._random.random() * count)


class Drawn(Chance):
    def __init__(self, data):
        self._data = data

    def below(self, count):
        return self._data.draw(_numbers(count)) if count > 1 else 0


_NUMBERS = {}


def _numbers(count):
    if count not in _NUMBERS:
        _NUMBERS[count] = st.integers(0, count - 1)
    return _NUMBERS[count]
