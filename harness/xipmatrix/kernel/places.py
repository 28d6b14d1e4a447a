# SPDX-License-Identifier: GPL-2.0-only
"""What the makers of commits and folders in the cache share."""

from __future__ import annotations

# Of every commit made here: so that a source has the same commit id everywhere.
SOURCE_DATE = "2000-01-01T00:00:00+0000"
