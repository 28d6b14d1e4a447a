/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of the test's init share. All of them are built with nolibc. */

/* Say `text` on the console; whole lines go out in one write. */
void say(const char *text);

/* Say the low `digits` hexadecimal digits of `value`. */
void say_hex(uint64_t value, int digits);

/* Load what is in /modules, and let it work: XIPMATRIX-SECTION, XIPMATRIX-WORKLOAD. */
void use_modules(void);

/* Load a BPF program and let it work: XIPMATRIX-JITED, XIPMATRIX-WORKLOAD. */
void use_bpf(void);
