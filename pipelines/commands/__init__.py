"""The commands of `slvr-data`, by theme. Imports of weight happen inside them: `--help` must be instant."""
