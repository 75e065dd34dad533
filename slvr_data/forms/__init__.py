"""Forms in which others keep questions about regions, by name. Documented in `docs/formats.md`."""

from __future__ import annotations

from slvr_data.forms.base import Asked, Form, RecordError, Told
from slvr_data.forms.llava import Llava
from slvr_data.forms.lvr import Lvr
from slvr_data.forms.stage1 import Stage1
from slvr_data.forms.stage2 import Stage2

__all__ = ["FORMS", "Asked", "Form", "RecordError", "Told"]

FORMS: dict[str, Form] = {form.name: form for form in (Stage1(), Stage2(), Lvr(), Llava())}
