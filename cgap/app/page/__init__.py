"""`report.html`: a report as one page that needs nothing else, and two builds side by side on one."""

from cgap.app.page.render import compare_page, read_trace, report_page, write_page

__all__ = ["compare_page", "read_trace", "report_page", "write_page"]
