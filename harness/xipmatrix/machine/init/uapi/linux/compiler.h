/* SPDX-License-Identifier: GPL-2.0-only */
/* Stands for the kernel's own, which its UAPI headers include and 'make headers' strips. */
