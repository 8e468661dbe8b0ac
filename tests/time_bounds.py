"""The one bound on time, for tests in which ending in time is the behaviour.

Without that behaviour each of them would take 10 s or more; with it, a fraction of a second. The
bound lies between, far enough from both for a busy machine.
"""

SOON = 8.0  # seconds
