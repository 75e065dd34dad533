"""What a reply names: rules that never guess. Wherever two readings are possible, the outcome is "unparsed".

`clean` takes off what is not said, `forms` knows plurals and other forms of a choice's words, `marks` turns every
mention of a choice into one sign, `scopes` sets aside what is denied or only supposed, `claims` and `statements` find
answers, `refusals` tells a reply that declines, and `rules` decides. See docs/extraction.md for the rules in words and
for what they get wrong.
"""

from benchmark.extract.open import OpenAnswer, open_answer
from benchmark.extract.rules import VERSION, Extracted, extracted

__all__ = ["VERSION", "Extracted", "OpenAnswer", "extracted", "open_answer"]
