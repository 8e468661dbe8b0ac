"""The life of one job, from its event to its response."""
