"""The data set's card (`README.md`): what the Hub shows and what `load_dataset` reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml

from slvr_data.audit.sample import set_hash
from slvr_data.audit.summary import AuditSummary
from slvr_data.schema import SPLITS
from slvr_data.shards import DataFile, files_of


@dataclass
class Funnel:
    """Counts for the card."""

    published: int = 0
    pictures: int = 0
    rejected: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By (stage, check, reason), malformed rows included."""
    sources: Counter[str] = field(default_factory=Counter)
    """Published regions per source."""
    licenses: Counter[str] = field(default_factory=Counter)
    """Published pictures per licence."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Rejections by kind: malformed, rejected, query, group, embedding."""
    groups: int = 0
    facets: Counter[str] = field(default_factory=Counter)
    """Published queries per facet."""
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    """Rows read, and malformed among them, per source."""
    audit: AuditSummary | None = None
    """What people found who judged a sample of the set."""


_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))


def render(files: list[DataFile], configuration: dict[str, Any], accounts: dict[str, int], funnel: Funnel) -> str:
    """The card's text; it holds nothing that differs between two equal runs."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "pages"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["cell"] = cell
    names = configs_of(files)
    return environment.get_template("card.md.j2").render(
        header=_yaml(_header(files, names, accounts)),
        configs=names,
        counts={c: {s: sum(f.rows for f in files_of(files, c, s)) for s in SPLITS} for c in names},
        splits=SPLITS,
        accounts=accounts,
        funnel=funnel,
        audit_is_current=funnel.audit is not None and funnel.audit.set == set_hash(files),
        rejected=sorted(funnel.rejected.items(), key=lambda item: (item[0][0] != "read", -item[1], item[0])),
        configuration=configuration,
        samples=next((f.path for f in files if f.config == "card" and f.path.endswith(".jpg")), None),
        bytes={c: sum(f.bytes for f in files_of(files, c)) for c in names},
    )


def with_files(text: str, files: list[DataFile]) -> str:
    """The card `text` with other data files of the same configs: their paths and sizes are exchanged."""
    _, header, body = text.split("---\n", 2)
    tree = yaml.safe_load(header)
    tree["configs"] = configs(files, [config["config_name"] for config in tree["configs"]])
    for config in tree["configs"]:
        name = config["config_name"]
        size = sum(file.bytes for file in files_of(files, name))
        body = re.sub(rf"^(\| `{name}` \|.*\|) \d+ \|$", rf"\g<1> {size} |", body, count=1, flags=re.MULTILINE)
    return f"---\n{_yaml(tree)}---\n{body}"


def data_files(text: str) -> list[dict[str, Any]]:
    """What the card tells `load_dataset`: its `configs`.

    Raises:
        ValueError: it has no readable header.
    """
    try:
        found: list[dict[str, Any]] = yaml.safe_load(text.split("---\n", 2)[1])["configs"]
    except (IndexError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"its header cannot be read ({type(error).__name__})") from None
    return found


def cell(value: object) -> str:
    """Text from data in a cell of a Markdown table: it cannot end the cell, or be markup."""
    text = " ".join(str(value).split())
    for character in "\\`*_{}[]<>|#!":
        text = text.replace(character, f"&#{ord(character)};")
    return text


def _header(files: list[DataFile], names: list[str], accounts: dict[str, int]) -> dict[str, Any]:
    size = next((name for most, name in _SIZES if accounts["published"] < most), "n>10M")
    return {
        "pretty_name": "SLV-Set",
        "license": "other",
        "language": ["en"],
        "task_categories": ["visual-question-answering", "image-to-text"],
        "tags": ["slvr", "regions", "attributes", "latent-visual-reasoning"],
        "size_categories": [size],
        "configs": configs(files, names),
    }


def configs_of(files: Sequence[DataFile]) -> list[str]:
    """The names of the configs, the default one first."""
    return [name for name in ("attributes", "multiquery", "embeddings", "images", "crops") if files_of(files, name)]


def configs(files: Sequence[DataFile], names: Sequence[str]) -> list[dict[str, Any]]:
    """The data files of the configs `names`, in the form of the card's header."""
    return [
        {
            "config_name": config,
            **({"default": True} if config == "attributes" else {}),
            "data_files": [
                {"split": split, "path": [file.path for file in files_of(files, config, split)]}
                for split in SPLITS
                if files_of(files, config, split)
            ],
        }
        for config in names
    ]


def _yaml(tree: dict[str, Any]) -> str:
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
