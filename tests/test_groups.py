# SPDX-License-Identifier: GPL-2.0-only
"""Tests that share what is dear to make are run by one process: pytest and xdist agree on it."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("together")
def test_a_group_is_kept_together(request: pytest.FixtureRequest) -> None:
    # Only xdist's workers have this option. With pytest 9.2 and xdist 3.8 groups are void.
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not run with --dist loadgroup")
    assert request.node.nodeid.endswith("@together")
