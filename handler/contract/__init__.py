"""What callers see: events, responses, errors, progress, and their schemas."""
