# SPDX-License-Identifier: GPL-2.0-only
"""xipmatrix: generate, build, boot and prove execute-in-place Linux kernels."""

__version__ = "0.1.0"
