"""Servers that tests talk to over real HTTP: processes of their own, faults included."""
