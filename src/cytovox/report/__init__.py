"""Pictures and pages made from results."""

from .contact_sheet import contact_sheet, draw_contact_sheet
from .html_report import Report, Reported, write_report
from .picture import deformation_area_scatter, draw_deformation_area, draw_measurement
from .style import save_figure

__all__ = [
    "Report",
    "Reported",
    "contact_sheet",
    "deformation_area_scatter",
    "draw_contact_sheet",
    "draw_deformation_area",
    "draw_measurement",
    "save_figure",
    "write_report",
]
