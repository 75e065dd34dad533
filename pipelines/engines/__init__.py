"""Engines: they carry shards to workers and bring reports back. Correctness never depends on them."""
