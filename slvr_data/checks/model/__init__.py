"""Checks that need a model: `config` says which run, `questions` and `second_look` ask, over the same request layer
as the annotator, so that a rerun costs nothing.
"""
