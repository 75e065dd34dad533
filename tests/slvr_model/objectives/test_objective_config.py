"""Settings of objectives: what contradicts itself or is unknown is refused in one sentence, with the nearest name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from slvr_data.errors import UsageError
from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import KINDS, ObjectiveConfig, checked_objective
from slvr_model.objectives.kinds import KNOWN
from tests.slvr_model.objectives import objective_support as support

BAD: list[tuple[dict[str, Any], str]] = [
    ({"kind": "slrv"}, r"objective\.kind: 'slrv' is none of .*; did you mean \"slvr\"\?"),
    ({"kind": "multi-encoder"}, 'did you mean "multi_encoder"'),
    ({"visual_wieght": 1.0}, r"objective\.visual_wieght: no such setting; did you mean \"visual_weight\"\?"),
    ({"alignment": {"margn": 1.0}}, r"objective\.alignment\.margn: no such setting; did you mean \"margin\"\?"),
    ({"feed": "teacherforced"}, r"objective\.feed: .* did you mean \"teacher\"\?"),
    ({"visual_weight": -1}, r"objective\.visual_weight: .*greater than or equal to 0"),
    ({"bottleneck": 1.5, "echo": True}, r"objective\.bottleneck: .*less than or equal to 1"),
    ({"bottleneck": 0.5}, "without echo: .* set echo to true"),
    ({"kind": "direct", "bottleneck": 0.5, "echo": True}, "kind 'direct', which has no latents"),
    ({"kind": "pause", "bottleneck": 0.5, "echo": True}, "kind 'pause', which has no latents"),
    ({"bottleneck_from": 0.5}, "without a bottleneck"),
    ({"kind": "lvr", "legacy_moving_target": True, "feed": "teacher"}, "no semantic slot"),
    (
        {"legacy_moving_target": True},
        "legacy_moving_target with feed 'schedule': the released form has \"teacher\" alone",
    ),
    ({"kind": "semantic", "targets": "all"}, "no visual targets"),
    ({"kind": "multi_encoder", "feed": "teacher"}, "own or detached"),
    ({"mark": ""}, r"objective\.mark"),
    ({"alignment": {"encoders": []}}, r"objective\.alignment\.encoders"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings_are_told_in_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as told:
        checked_objective(settings)
    assert "\n" not in str(told.value) and "pydantic" not in str(told.value)


def test_every_kind_is_known_and_an_unknown_one_names_the_nearest() -> None:
    assert tuple(KNOWN) == KINDS
    for kind in KINDS:
        assert support.opened(kind).name == kind
    forced = ObjectiveConfig().model_copy(update={"kind": "lvrr"})
    with pytest.raises(UsageError, match='did you mean "lvr"'):
        open_objective(forced, support.tiny()[0], support.tiny()[1].tokenizer)


def test_settings_are_read_without_torch() -> None:
    code = "import sys, slvr_model.objectives.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
