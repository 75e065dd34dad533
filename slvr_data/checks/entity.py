"""`entity`: what the profile calls the thing is what its source calls it."""

from __future__ import annotations

from slvr_data.checks.base import CheckedRegion, failed, not_applicable, passed
from slvr_data.schema import Verdict

NAME = "entity"

_KINDS = (
    "person man woman boy girl child kid baby lady guy people human player pedestrian rider skier surfer "
    "skateboarder snowboarder adult toddler infant teenager male female cyclist chef student",
    "bicycle bike cycle", "motorcycle motorbike bike scooter moped vehicle",
    "car automobile sedan suv van taxi cab vehicle hatchback minivan coupe jeep limousine",
    "truck lorry pickup van vehicle", "bus coach van vehicle minibus", "train locomotive tram railcar vehicle subway",
    "airplane aeroplane plane aircraft jet airliner vehicle", "boat ship canoe kayak yacht vessel sailboat raft ferry",
    "bird seagull pigeon duck parrot goose crow sparrow gull chicken animal owl eagle swan", "cat kitten kitty animal",
    "dog puppy hound animal pup", "horse pony foal animal", "sheep lamb goat ram animal",
    "cow bull calf cattle ox animal", "elephant animal calf", "bear cub animal", "zebra animal", "giraffe animal",
    "backpack rucksack bag knapsack", "umbrella parasol", "handbag purse bag pocketbook tote", "tie necktie bowtie",
    "suitcase luggage bag baggage", "frisbee disc disk", "ski skis", "snowboard board", "ball football basketball "
    "baseball soccerball volleyball", "kite", "bat club", "glove mitt", "skateboard board longboard",
    "surfboard board", "racket racquet paddle", "bottle flask jar", "glass wineglass goblet cup",
    "cup mug glass tumbler teacup", "fork", "knife blade", "spoon ladle", "bowl dish basin", "plate dish platter",
    "banana fruit plantain", "apple fruit", "sandwich burger sub hamburger food", "orange fruit mandarin tangerine",
    "broccoli vegetable", "carrot vegetable", "hotdog dog sausage food", "pizza food", "donut doughnut food",
    "cake cupcake pastry dessert food", "chair seat armchair stool furniture", "couch sofa loveseat settee furniture",
    "plant houseplant flower shrub bush tree", "bed mattress bunk furniture", "table desk counter furniture",
    "toilet lavatory commode", "tv television monitor screen display", "laptop notebook computer macbook",
    "mouse", "remote controller control", "keyboard keypad", "phone cellphone smartphone telephone mobile iphone",
    "microwave", "oven stove range cooker", "toaster", "sink basin washbasin", "refrigerator fridge freezer",
    "book magazine notebook textbook", "clock watch", "vase pot jar urn", "scissors shears",
    "teddy toy bear plush doll", "drier dryer hairdryer hairdrier", "toothbrush brush", "bench seat pew",
    "hydrant fireplug", "light lamp signal stoplight", "sign signboard placard", "meter",
    "circle disc disk", "square", "triangle", "star", "house building", "tree",
)  # fmt: skip
"""Head nouns that people use for the same things, one kind after the other; a noun may stand in several."""
_KINDS_OF: dict[str, frozenset[int]] = {}
for _number, _words in enumerate(_KINDS):
    for _word in _words.split():
        _KINDS_OF[_word] = _KINDS_OF.get(_word, frozenset()) | {_number}


def normalised(text: str) -> str:
    """In lower case, underscores and hyphens as spaces, without an article."""
    words = text.lower().replace("_", " ").replace("-", " ").split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


def head(text: str) -> str:
    """The head noun of a normalised phrase, in the singular: "dining tables with cups" to "table"."""
    words = text.split()
    for stop in ("of", "with", "in", "on", "at", "from", "wearing", "holding", "and"):
        if stop in words[1:]:
            words = words[: words.index(stop, 1)]
    word = words[-1] if words else ""
    if word in _KINDS_OF or word.endswith("ss"):
        return word
    for ending, instead in (("ves", "fe"), ("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("sses", "ss")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + instead
    return word.removesuffix("s")


def of_one_kind(one: str, other: str) -> bool | None:
    """Whether two nouns may name one thing: None where that is not known."""
    said, wanted = normalised(one), normalised(other)
    ours, theirs = head(said), head(wanted)
    if said == wanted or ours == theirs or wanted in said or said in wanted:
        return True
    if ours not in _KINDS_OF or theirs not in _KINDS_OF:
        return None
    return bool(_KINDS_OF[ours] & _KINDS_OF[theirs])


def check_entity(record: CheckedRegion) -> Verdict:
    """Fails with "entity-of-another-kind".

    Only where the entity is a known other kind of thing, or another label of the picture; a word that
    nobody here knows may well be a finer one for the same.
    """
    entity, label = record.profile.appearance.entity, record.region.label
    if entity is None or label is None:
        return not_applicable(NAME)
    same = of_one_kind(entity, label)
    if same is None:
        said = normalised(entity)
        if all(said != normalised(other.label or "") for other in record.others):
            return not_applicable(NAME)
    if same:
        return passed(NAME)
    return failed(NAME, "entity-of-another-kind", f"entity {entity!r}, label {label!r}")
