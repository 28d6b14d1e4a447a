# SPDX-License-Identifier: GPL-2.0-only
"""``./xipmatrix test [ARGS]``: what all tests need, then tox. Started by the launcher."""

from __future__ import annotations

import os
import sys

from ..core.errors import XipmatrixError
from ..core.files import project_dir
from ..core.host import all_packages, ensure_packages, test_packages
from ..matrix.load import load_matrix
from .common import templates_dir


def _say(text: str) -> None:
    print(f"xipmatrix: {text}", file=sys.stderr)


def main() -> None:
    """Install the packages of all architectures and become tox; ARGS are tox's."""
    try:
        loaded = load_matrix(project_dir() / "matrix.yaml", templates_dir())
        ensure_packages([*all_packages(loaded.archs.values()), *test_packages()], _say)
    except XipmatrixError as error:
        print(f"xipmatrix: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    os.chdir(project_dir())
    os.execv(sys.executable, [sys.executable, "-m", "tox", *sys.argv[1:]])


if __name__ == "__main__":
    main()
