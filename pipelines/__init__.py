"""How SLV-Set is made: staged pipelines over shards, and the command `slvr-data`."""
