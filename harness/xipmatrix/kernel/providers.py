# SPDX-License-Identifier: GPL-2.0-only
"""Ways to get a kernel's source; each ends in a tree in a bare repository of our own.

A provider first says which `place` (folder below ``kernels/``) its source belongs to,
where that can be known without a download, and then fills it.
"""
