"""One thin adapter per platform: each translates to the jobs' service or pool."""
