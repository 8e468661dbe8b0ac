"""Tests of workflows/ghibli-classic without its node packs, and what they need."""
