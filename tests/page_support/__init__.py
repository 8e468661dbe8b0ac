"""A real browser, and what tests of the page do in it."""
