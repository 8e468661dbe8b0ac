"""The parts of ``provision.sh`` that need more than a shell; standard library and pip only."""
