"""One thin adapter a platform: each translates to ``Function.invoke`` and holds no logic."""
