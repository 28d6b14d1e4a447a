/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of the test's init share. All of them are built with nolibc. */

/* Say `text` on the console; whole lines go out in one write. */
void say(const char *text);

/* Say the low `digits` hexadecimal digits of `value`. */
void say_hex(uint64_t value, int digits);

/* The number that `text` (or NULL) begins with, in hexadecimal digits. */
uint64_t parse_hex(const char *text);

/* Say how often some work was done. */
void report(const char *work, int count);

/* Load what is in /modules, and let it work: XIPMATRIX-SECTION, XIPMATRIX-WORKLOAD. */
void use_modules(void);

/* Load a BPF program and let it work: XIPMATRIX-JITED, XIPMATRIX-WORKLOAD. */
void use_bpf(void);

/*
 * Boot the kernel that `where` (the value of xipmatrix.kexec=) names by kexec, unless this is
 * the second boot already. Returns where that fails.
 */
void boot_again(const char *where);

/* Whether the kernel was booted by boot_again(), which leaves a mark in the option's value. */
int is_second_boot(const char *where);
