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

#if __SIZEOF_POINTER__ == 8
typedef Elf64_Dyn elf_dyn;
typedef Elf64_Rel elf_rel;
typedef Elf64_Rela elf_rela;
#else
typedef Elf32_Dyn elf_dyn;
typedef Elf32_Rel elf_rel;
typedef Elf32_Rela elf_rela;
#endif

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const elf_dyn _DYNAMIC[] __attribute__((visibility("hidden")));

/* All are relative ones: nothing is shared, and nothing undefined. */
__attribute__((used)) static void relocate(void)
{
	uintptr_t base = (uintptr_t)__ehdr_start;
	uintptr_t rel = 0, rela = 0;
	size_t rel_size = 0, rela_size = 0, at;
	const elf_dyn *entry;

	for (entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++) {
		if (entry->d_tag == DT_REL)
			rel = base + entry->d_un.d_ptr;
		if (entry->d_tag == DT_RELSZ)
			rel_size = entry->d_un.d_val;
		if (entry->d_tag == DT_RELA)
			rela = base + entry->d_un.d_ptr;
		if (entry->d_tag == DT_RELASZ)
			rela_size = entry->d_un.d_val;
	}
	for (at = rel; at < rel + rel_size; at += sizeof(elf_rel))
		*(uintptr_t *)(base + ((const elf_rel *)at)->r_offset) += base;
	for (at = rela; at < rela + rela_size; at += sizeof(elf_rela))
		*(uintptr_t *)(base + ((const elf_rela *)at)->r_offset) =
			base + ((const elf_rela *)at)->r_addend;
}

#ifdef __thumb__
__asm__(".thumb_func\n"
	".globl relocate_and_start\n"
	"relocate_and_start:\n"
	"	bl	relocate\n"
	"	b	_start\n");
#endif
#ifdef __riscv
__asm__(".globl relocate_and_start\n"
	"relocate_and_start:\n"
	".option push\n"
	".option norelax\n"
	"	lla	gp, __global_pointer$\n"
	".option pop\n"
	"	call	relocate\n"
	"	tail	_start\n");
#endif
#endif
