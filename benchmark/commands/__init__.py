"""The commands of `slvr-bench` by theme. Everything heavy is imported inside them: `--help` must be instant."""
