"""Models to be scored: one small file each behind one protocol (`base`)."""
