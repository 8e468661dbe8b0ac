"""Models that are fetched at run time: what workflows lack, and what events name by URL."""
