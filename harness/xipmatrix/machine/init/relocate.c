// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where init is executed without MMU: anywhere in RAM. The kernel loads a position-independent
 * program as it is (fs/binfmt_elf_fdpic.c), with the addresses in it as linked: here those of
 * nolibc's weak variables. So the program adds its base to them, before anything else.
 *
 * Linked with -Wl,-e,relocate_and_start then; nothing in other programs.
 */
#ifdef __PIE__
#include <linux/elf.h>

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const Elf32_Dyn _DYNAMIC[] __attribute__((visibility("hidden")));

__attribute__((used)) static void relocate(void)
{
	uintptr_t base = (uintptr_t)__ehdr_start;
	const Elf32_Dyn *entry;
	const Elf32_Rel *at = NULL;
	size_t size = 0;

	for (entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++) {
		if (entry->d_tag == DT_REL)
			at = (const Elf32_Rel *)(base + entry->d_un.d_ptr);
		if (entry->d_tag == DT_RELSZ)
			size = entry->d_un.d_val;
	}
	/* All are relative ones: nothing is shared, and nothing undefined. */
	for (; size; size -= sizeof(*at), at++)
		*(uintptr_t *)(base + at->r_offset) += base;
}

#ifdef __thumb__
__asm__(".thumb_func\n"
	".globl relocate_and_start\n"
	"relocate_and_start:\n"
	"	bl	relocate\n"
	"	b	_start\n");
#endif
#endif
