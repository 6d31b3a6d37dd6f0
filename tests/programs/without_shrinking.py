"""Hypothesis as mutation testing wants it: the same examples in each run, and no look for the least one that fails."""

from hypothesis import Phase, settings

settings.register_profile(
    "without shrinking", phases=(Phase.explicit, Phase.generate), derandomize=True, database=None, deadline=None
)
settings.load_profile("without shrinking")
