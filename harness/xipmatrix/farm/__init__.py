# SPDX-License-Identifier: GPL-2.0-only
"""Cells on many machines: Dask carries, watches and restarts; who gets what is our policy.

Workers share no disk with us. Kernels go to them by the names of git's objects, results come
back by the SHA-256 of their content, and lie in the store as if they were made here.
"""

from ..core.errors import InfrastructureError


def need_dask() -> None:
    """Raise InfrastructureError, with what to do, where the extra 'farm' is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise InfrastructureError(
            f"work on other machines needs Dask, which is not installed ({error})",
            hint=".venv/bin/pip install -e '.[farm]', here and on every worker",
        ) from error
