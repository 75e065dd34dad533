"""Objectives: how a reply is laid out, and which losses a batch of such replies has. See docs/objectives.md."""
