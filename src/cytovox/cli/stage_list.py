"""``cytovox stages``: what there is to choose from, and its options."""

from __future__ import annotations

from .command_options import Form
from .console import show

__all__ = ["stages"]


def stages(form: Form) -> None:
    """List the stages that are installed, with their options and defaults.

    Stages of other packages are listed beside the built-in ones.

    Example: cytovox run FILE --background rollmed --set background.kernel_size=50
    """
    from ..recipe.described_stages import described_stages

    described = described_stages()
    lines = []
    for stage in described:
        missing = "" if stage["available"] else " (what it needs is not installed)"
        lines.append(f"{stage['kind']} {stage['code']}: {stage['title']}{missing}")
        for option in stage["options"]:
            value = option["default"]
            plain = str(value).lower() if value is None or isinstance(value, bool) else value
            lines.append(f"    --set {option['set']}={plain}")
    show({"exit_code": 0, "stages": described}, "\n".join(lines), as_json=form.as_json)
