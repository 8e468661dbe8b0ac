"""Batches: a list of events or a folder of photos, carried out to its end.

The function and the job pool are those of every other platform. What is here is the list, the
ledger that a later run goes on from, and the claims by which several workers share a list.
"""
