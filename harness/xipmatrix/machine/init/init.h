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

/* Show a file: XIPMATRIX-BEGIN, its content, XIPMATRIX-END. */
void show(const char *path);

/* The reply to a challenge. */
uint64_t mix(uint64_t x);

/* Call `use` for each entry of a folder whose path ends in '/'; the sum of what it returns. */
int each(const char *folder, int (*use)(const char *path, const char *name));

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

#ifdef USE_FLASH
/*
 * Mount the file system in the kernel's flash, execute its programs and read its files:
 * XIPMATRIX-PROGRAM, XIPMATRIX-FILE, XIPMATRIX-WORKLOAD. `challenge` is hexadecimal.
 */
void use_cramfs(const char *challenge);

/* Erase, write and read the flash that the kernel is not in: XIPMATRIX-WORKLOAD. */
void use_cfi(const char *challenge);
#else
static inline void use_cramfs(const char *challenge) {}
static inline void use_cfi(const char *challenge) {}
#endif
