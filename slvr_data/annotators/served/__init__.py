"""The `served` annotator: a vision-language model behind a server writes profiles.

`sent` makes what a model sees of a picture; `schemas`, `words` and `replies` say what it may answer and what that
means; `asking` is the order of calls on one picture, and `profiles` asks for profiles.
"""
