"""The local embedding: the same bytes everywhere, near for profiles that are alike."""

from __future__ import annotations

import hashlib
import math
import os
import struct
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pytest

from slvr_data.arrow import embedding_schema
from slvr_data.embeddings import DIMENSION, attribute_tokens, is_local, local_embedding, local_model
from slvr_data.errors import UsageError
from slvr_data.schema import AttributeProfile
from tests.checked import link, profile

DOG = profile(
    entity="Old sheep dog", colors=["brown", "white"], size="large", position="top left", action="running",
    interaction=[], relations=[link("left of", "tree", "r1")], visible_text=["Café 7"], count=2, depth="front",
)  # fmt: skip
PINNED = "ab8175"

_WORDS = {
    "entity": ("dog", "cat", "cup", "red kite", "old tree", "bus", "stop sign", "boat"),
    "colors": ("red", "green", "blue", "white", "black", "yellow", "brown", "grey"),
    "shape": ("round", "square", "long", "star"),
    "material": ("wood", "metal", "striped", "glass"),
    "size": ("small", "medium", "large"),
    "position": ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right"),
    "action": ("running", "sitting", "flying", "lying on its side"),
}


def drawn(random: Random) -> dict[str, object]:
    """Values of a random profile with every field of `_WORDS`."""
    values: dict[str, object] = {name: random.choice(words) for name, words in _WORDS.items()}
    return values | {"colors": random.sample(_WORDS["colors"], 2)}


def near(a: AttributeProfile, b: AttributeProfile, dimension: int = DIMENSION) -> float:
    """Cosine of their embeddings."""
    first, second = (local_embedding(p, dimension).astype(np.float64) for p in (a, b))
    return float(first @ second)


@pytest.mark.parametrize("dimension", [1, 2, 7, 256, 4096])
def test_it_has_its_dimension_and_length_1(dimension: int) -> None:
    for one in (DOG, AttributeProfile()):
        vector = local_embedding(one, dimension)
        assert vector.dtype == np.float16 and vector.shape == (dimension,)
        assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=2e-3)


def test_its_bytes_are_the_same_on_every_machine() -> None:
    assert hashlib.sha256(local_embedding(DOG).tobytes()).hexdigest()[:6] == PINNED
    code = (
        "from tests.slvr_data.test_embeddings import DOG, local_embedding;"
        "import sys; sys.stdout.write(local_embedding(DOG).tobytes().hex())"
    )
    environment = os.environ | {
        "PYTHONHASHSEED": "77",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    }
    command = [sys.executable, "-W", "ignore", "-c", code]
    root = Path(__file__).parents[2]
    told = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root)
    assert told.stdout == local_embedding(DOG).tobytes().hex(), told.stderr


@pytest.mark.parametrize("dimension", [5, 256, 1000])
def test_it_is_what_its_description_says(dimension: int) -> None:
    """Written down again without numpy; Python's own rounding to half precision."""
    counts = [0] * dimension
    for token in attribute_tokens(DOG):
        number = int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "big")
        counts[(number >> 1) % dimension] += 1 if number % 2 else -1
    length = math.sqrt(sum(count * count for count in counts))
    expected = struct.pack(f"<{dimension}e", *(count / length for count in counts))
    assert local_embedding(DOG, dimension).astype("<f2").tobytes() == expected


def test_like_profiles_are_near() -> None:
    random = Random(5)
    for _ in range(300):
        values = drawn(random)
        one, same = profile(**values), profile(**values)
        name = random.choice(list(_WORDS))
        changed = profile(**values | {name: ["pink"] if name == "colors" else "another"})
        other = profile(**drawn(random))
        assert near(one, same) == pytest.approx(1, abs=2e-3)
        assert 0.55 < near(one, changed) < 0.97
        assert near(one, other) < near(one, changed)


def test_distances_do_not_come_from_collisions() -> None:
    """Random profiles share few attributes: their mean cosine at 256 dimensions is that at 65,536."""
    random = Random(6)
    pairs = [(profile(**drawn(random)), profile(**drawn(random))) for _ in range(300)]
    wide = np.array([near(a, b, 1 << 16) for a, b in pairs])
    narrow = np.array([near(a, b) for a, b in pairs])
    assert abs(narrow.mean() - wide.mean()) < 0.02
    assert np.corrcoef(narrow, wide)[0, 1] > 0.8


def test_words_of_free_texts_count() -> None:
    assert near(profile(entity="old red kite"), profile(entity="kite")) > 0.2
    assert near(profile(visible_text=["EXIT  now"]), profile(visible_text=["exit now"])) == pytest.approx(1, abs=2e-3)
    assert abs(near(profile(entity="kite"), profile(action="kite"))) < 0.1, "the same word in another field"


def test_unknown_is_not_known_to_be_absent() -> None:
    assert list(attribute_tokens(AttributeProfile())) == []
    unknown, absent = profile(entity="cup"), profile(entity="cup", visible_text=[])
    assert near(unknown, absent) < 0.9
    assert "text=none" in list(attribute_tokens(absent))


def test_ids_and_the_order_of_values_do_not_matter() -> None:
    other = DOG.model_copy(deep=True)
    assert other.spatial.relations is not None and other.appearance.colors is not None
    other.spatial.relations[0].target_region_id = None
    other.appearance.colors.reverse()
    assert local_embedding(other).tobytes() == local_embedding(DOG).tobytes()


def test_every_field_of_a_profile_is_embedded() -> None:
    """A field that is added to the schema must not be forgotten here."""
    texts = {
        "appearance.entity": profile(entity="x"), "appearance.colors": profile(colors=["x"]),
        "appearance.shape": profile(shape="x"), "appearance.material": profile(material="x"),
        "appearance.size": profile(size="x"), "action": profile(action="x"),
        "interaction": profile(interaction=[link("holds", "x")]), "spatial.position": profile(position="x"),
        "spatial.orientation": profile(orientation="x"), "spatial.depth": profile(depth="x"),
        "spatial.relations": profile(relations=[link("left of", "x")]), "visible_text": profile(visible_text=["x"]),
        "peers.same_label_count": profile(count=1),
    }  # fmt: skip
    fields = {
        f"{name}.{inner}" if inner else name
        for name, info in AttributeProfile.model_fields.items()
        for inner in getattr(info.annotation, "model_fields", {"": None})
    }
    assert set(texts) == fields
    vectors = {local_embedding(one, 1 << 16).tobytes() for one in texts.values()}
    assert len(vectors) == len(texts) and local_embedding(AttributeProfile(), 1 << 16).tobytes() not in vectors


def test_names_of_the_local_model() -> None:
    assert local_model().model == "local-hash-1:256" and local_model("local-hash-1:64").dimension == 64
    assert local_model(dimension=8).model == "local-hash-1:8"
    assert local_model("local-hash-1:8", 8).local and is_local("local-hash-1") and not is_local("local-hash-10")
    for name, dimension in (("local-hash-1:8", 9), ("local-hash-1:x", None), ("local-hash-1:0", None)):
        with pytest.raises(UsageError, match=name.partition(":")[2]):
            local_model(name, dimension)
    with pytest.raises(UsageError, match="65536 dimensions, not 65537"):
        local_model(dimension=65537)


def test_the_column_is_a_fixed_list_of_float16() -> None:
    schema = embedding_schema(4)
    assert schema.field("embedding").type == pa.list_(pa.float16(), 4) and not schema.field("embedding").nullable
    row = {"region_id": "r", "image_id": "i", "model": "m", "embedding": np.arange(4, dtype=np.float16)}
    table = pa.Table.from_pylist([row], schema=schema)
    assert table["embedding"].to_pylist() == [[0, 1, 2, 3]]
    with pytest.raises(pa.ArrowInvalid):
        pa.Table.from_pylist([row | {"embedding": np.arange(3, dtype=np.float16)}], schema=schema)
