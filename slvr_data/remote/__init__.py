"""Sets that lie beyond this machine's file system: any location that fsspec opens, such as `s3://bucket/set`."""
