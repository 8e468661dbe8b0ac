"""One thin adapter per platform: each translates to ``Function.invoke`` and holds no logic."""
