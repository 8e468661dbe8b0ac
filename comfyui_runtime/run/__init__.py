"""What every runtime shares: the protocol, the records of a run, and the checks before it."""
