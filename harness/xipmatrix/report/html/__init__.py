# SPDX-License-Identifier: GPL-2.0-only
"""Static pages: one per run, self-contained, and an index over all runs."""

from .pages import INDEX, page_name, write_pages

__all__ = ["INDEX", "page_name", "write_pages"]
