"""A node pack that does not import."""

raise ImportError("broken_pack needs something that is not installed")
