"""Replies that decline: the answer cannot be told, the picture not be seen, or the question not be answered."""

from __future__ import annotations

import re

_DECLINES = re.compile(
    r"\b(?:cannot|can not|could not|unable to|not able to|am not able to|not possible to|impossible to|"
    r"no way to|hard to|difficult to|"
    r"not sure how to|will not|would not|refuse to|must decline to|have to decline to|not going to|"
    r"not allowed to|not comfortable|"
    r"do not feel comfortable|not permitted to|not able)\s+(?:\w+ly\s+|be\s+|possibly\s+|really\s+|even\s+|"
    r"directly\s+){0,3}"
    r"(?:tell|told|see|seen|say|said|determine|determined|decide|decided|identify|identified|identifying|answer|"
    r"answering|answered|"
    r"view|viewed|access|process|analy[sz]e|interpret|make out|make that out|make it out|judge|know|known|help|"
    r"assist|provide|comply|"
    r"be sure|sure|certain|be certain|discern|discerned|recogni[sz]e|recogni[sz]ed|read|verify|confirm|infer|"
    r"inferred|give|comment|"
    r"complete|fulfil|fulfill|describe|choose|pick|select|engage|continue|perceive|locate|find|respond|"
    r"ascertain|ascertained|establish|"
    r"established|distinguish|distinguished|do that|do this|guess|display|open|load)\b"
    r"|\bcannot\s*(?:$|[.!])"
    r"|\bdo(?:es)? not (?:know|have (?:access|the ability|enough|sufficient|any|an|the image|the picture|eyes|"
    r"visual)|see (?:any|an|the|a) (?:image|picture|photo|attach\w+)|"
    r"contain (?:enough|sufficient|any)|show (?:enough|that|it)|provide (?:enough|sufficient))\b"
    r"|\b(?:no|without an|without any|without the|without seeing the|missing) (?:\w+ )?(?:image|picture|photo|"
    r"attachment|idea|clue|answer|information|visual|way of knowing)\b"
    r"|\b(?:not|in)s?(?: enough|sufficient)(?: \w+)? (?:information|detail|details|data|context|evidence|"
    r"resolution)\b|\binsufficient\b|\bnot enough\b"
    r"|\b(?:unsure|uncertain|unclear|undetermined|undeterminable|indeterminate|indeterminable|unanswerable|"
    r"undecidable|unknowable|unidentifiable)\b|^\W*unknown\W*$"
    r"|\bnot (?:sure|certain|clear|visible|discernible|identifiable|determinable|possible|answerable|provided|"
    r"shown|known|included|attached|legible)\b"
    r"|\b(?:i|we|must|to|respectfully|politely)\s+(?:decline|refuse|abstain|pass)\b|\bi(?:'d|"
    r" would) rather not\b|\bprefer not to\b"
    r"|\bas an? (?:ai|artificial|language|text)\b|\bhave no (?:idea|clue|way|image|picture|access)\b|"
    r"\btoo (?:blurry|dark|small|unclear|blurred|low)\b"
    r"|\b(?:is|are|was|looks?|completely|totally|fully|being)\s+(?:hidden|obscured|occluded|masked|blocked|"
    r"blacked out|covered|blurred out)\b"
    r"|^\W*(?:n/?a|no comment|pass|idk|dunno|no answer|cannot say|skip|undecided|sorry|not applicable)\W*$"
    r"|\b(?:not|do not feel) comfortable\b|\bagainst my (?:guidelines|policy|programming)\b|"
    r"\bbeyond my (?:ability|abilities|capabilities)\b|"
    r"\bcould you (?:please )?(?:provide|share|upload|send|attach|resend)\b"
    r"|\bplease (?:provide|share|upload|send|attach|resend)\b|\bsorry,? (?:but )?(?:i|this|that)\b|"
    r"\bif i had the (?:image|picture)\b"
    r"|无法|不能确定|看不清|看不到|不知道|不确定|难以|抱歉|わかりません|分かりません|見えません|"
    r"判断できません|알 수 없|모르|"
    r"\bne (?:peux|sais|vois|puis)\b|\bno (?:puedo|sé|se puede|lo sé|veo)\b|\bimpossible (?:de|à)\b|\b(?:kann|"
    r"weiß|weiss) (?:ich |es |das |man )?(?:\w+ )?(?:nicht|leider nicht)\b|"
    r"\bnicht (?:erkennen|sagen|bestimmen|sehen|sicher)\b|\bnão (?:posso|sei|consigo)\b|\bnon (?:posso|so|"
    r"riesco)\b|\bне (?:могу|знаю|вижу|видно)\b|\bневозможно\b",
    re.M,
)


def declines(text: str) -> bool:
    """Whether a reply, in one spelling and lower case, declines to answer; mentions of choices are signs in it."""
    return _DECLINES.search(text[:6000]) is not None
