// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU TCG plugin: counts every executed guest instruction by where it was fetched from.
 *
 * -plugin residency.so,out=<file>[,stores=<file>,from=<address>,size=<bytes>]
 *
 * A translation block is cut into runs of instructions whose host address minus guest
 * virtual address is one constant (a block that crosses a page may have two). Each run
 * has a counter that every instruction of it increments when it starts, so a block that
 * an exception leaves early is counted only as far as it came. The host address ties a
 * run to a memory: the monitor's gpa2hva names the host address of flash and RAM.
 *
 * At exit, one line a run (numbers hexadecimal but for the count), executed runs only:
 *
 *	xipmatrix-residency 2 <target>
 *	<guest virtual address> <host address> <code> <count>
 *
 * The code is the instructions' bytes as fetched, so the reader can tell whether code in
 * RAM is a true copy of what the ELF file says.
 *
 * With `stores`, that file gets what the guest stores to a range of virtual addresses: that of a
 * ROM, of which no device tells, on a machine without MMU. At exit, the first MOST_STORES:
 *
 *	xipmatrix-stores 1 <count>
 *	<address of the instruction> <address stored to>
 *
 * v1 counters are plain additions: QEMU must run with -accel tcg,thread=single.
 *
 * Debian's QEMU ships no qemu-plugin.h. What is used of its API is declared here, by
 * version as in include/qemu/qemu-plugin.h: 1 (QEMU 4.2 to 8.2), 2 (9.0: per-vCPU
 * scoreboards), 3 (9.1: insn_data copies), 7 (11.1: callbacks get a pointer of their own
 * instead of the plugin's number). PLUGIN_API is set by the builder.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PLUGIN_API
#define PLUGIN_API 1
#endif
#define EXPORT __attribute__((visibility("default")))

/* ---- the part of QEMU's plugin API that is used ---- */

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

/* Only the first member is read: it stands first in every version. */
struct qemu_info {
	const char *target_name;
};

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_W = 2 };
typedef uint32_t qemu_plugin_meminfo_t;

extern bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
extern void qemu_plugin_register_vcpu_mem_cb(
	struct qemu_plugin_insn *insn,
	void (*cb)(unsigned int, qemu_plugin_meminfo_t, uint64_t vaddr, void *data),
	enum qemu_plugin_cb_flags flags, enum qemu_plugin_mem_rw rw, void *data);

#if PLUGIN_API >= 7
extern void qemu_plugin_register_vcpu_tb_trans_cb(
	qemu_plugin_id_t id, void (*cb)(struct qemu_plugin_tb *, void *), void *data);
extern void qemu_plugin_register_atexit_cb(
	qemu_plugin_id_t id, void (*cb)(void *), void *data);
#else
extern void qemu_plugin_register_vcpu_tb_trans_cb(
	qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_atexit_cb(
	qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *), void *data);
#endif
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
							 size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

#if PLUGIN_API >= 3
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t size);
#else
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#endif

#if PLUGIN_API >= 2
struct qemu_plugin_scoreboard;
typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;
extern struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
extern uint64_t qemu_plugin_u64_sum(qemu_plugin_u64 entry);
extern void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
	struct qemu_plugin_insn *insn, enum qemu_plugin_op op, qemu_plugin_u64 entry,
	uint64_t value);
#else
extern void qemu_plugin_register_vcpu_insn_exec_inline(
	struct qemu_plugin_insn *insn, enum qemu_plugin_op op, void *counter, uint64_t value);
#endif

EXPORT int qemu_plugin_version = PLUGIN_API;

/* ---- counters ---- */

struct run {
	uint64_t vaddr;
	uint64_t haddr;
	uint64_t hash;
	size_t size;
	unsigned char *code;
#if PLUGIN_API >= 2
	qemu_plugin_u64 count;
#else
	uint64_t count;
#endif
	struct run *next;
};

#define BUCKETS (1u << 16)
/* A block has no more than 512 instructions (TCG_MAX_INSNS) of 16 bytes. */
#define MOST_CODE (512 * 16)
static struct run *buckets[BUCKETS];
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static char out_path[4096];
static char stores_path[4096];
static uint64_t rom_from, rom_size;
#define MOST_STORES 64
static uint64_t stores, stored[MOST_STORES][2];
static char target[64];

static void count_one(struct qemu_plugin_insn *insn, struct run *run)
{
#if PLUGIN_API >= 2
	qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64,
							    run->count, 1);
#else
	qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
						   &run->count, 1);
#endif
}

static void note_store(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *pc)
{
	(void)cpu;
	/* QEMU 7.2 calls for loads as well. */
	if (vaddr - rom_from >= rom_size || !qemu_plugin_mem_is_store(info))
		return;
	if (stores < MOST_STORES) {
		stored[stores][0] = (uintptr_t)pc;
		stored[stores][1] = vaddr;
	}
	stores++;
}

static void watch_stores(struct qemu_plugin_insn *insn)
{
	qemu_plugin_register_vcpu_mem_cb(insn, note_store, QEMU_PLUGIN_CB_NO_REGS,
					 QEMU_PLUGIN_MEM_W,
					 (void *)(uintptr_t)qemu_plugin_insn_vaddr(insn));
}

static uint64_t count_of(struct run *run)
{
#if PLUGIN_API >= 2
	return qemu_plugin_u64_sum(run->count);
#else
	return run->count;
#endif
}

/* Append the bytes of an instruction to `code`, which holds `size`; the new size. */
static size_t fetch(unsigned char *code, size_t size, const struct qemu_plugin_insn *insn)
{
	size_t more = qemu_plugin_insn_size(insn);

	if (more > MOST_CODE - size)
		abort();
#if PLUGIN_API >= 3
	more = qemu_plugin_insn_data(insn, code + size, more);
#else
	memcpy(code + size, qemu_plugin_insn_data(insn), more);
#endif
	return size + more;
}

/* FNV-1a */
static uint64_t hash_of(const unsigned char *code, size_t size)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ code[i]) * 0x100000001b3ULL;
	return hash;
}

/* The one counter of this code at this place; made if need be. Never freed: code that is
 * translated holds its address until QEMU ends. */
static struct run *run_at(uint64_t vaddr, uint64_t haddr, const unsigned char *code, size_t size)
{
	uint64_t hash = hash_of(code, size);
	uint64_t key = (vaddr ^ (haddr >> 5) ^ hash) * 0x9e3779b97f4a7c15ULL;
	struct run **at = &buckets[key >> 48];

	for (; *at; at = &(*at)->next)
		if ((*at)->vaddr == vaddr && (*at)->haddr == haddr && (*at)->hash == hash &&
		    (*at)->size == size && !memcmp((*at)->code, code, size))
			return *at;
	*at = calloc(1, sizeof(**at));
	if (!*at || !((*at)->code = malloc(size)))
		abort();
	memcpy((*at)->code, code, size);
	(*at)->vaddr = vaddr;
	(*at)->haddr = haddr;
	(*at)->hash = hash;
	(*at)->size = size;
#if PLUGIN_API >= 2
	(*at)->count.score = qemu_plugin_scoreboard_new(sizeof(uint64_t));
#endif
	return *at;
}

static void count_block(struct qemu_plugin_tb *tb)
{
	static unsigned char code[MOST_CODE];
	size_t insns = qemu_plugin_tb_n_insns(tb);
	size_t from, to, size;

	pthread_mutex_lock(&guard);
	for (from = 0; from < insns; from = to) {
		struct qemu_plugin_insn *first = qemu_plugin_tb_get_insn(tb, from);
		uint64_t vaddr = qemu_plugin_insn_vaddr(first);
		uint64_t haddr = (uintptr_t)qemu_plugin_insn_haddr(first);
		struct run *run;

		for (to = from, size = 0; to < insns; to++) {
			struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, to);
			uint64_t host = (uintptr_t)qemu_plugin_insn_haddr(insn);

			/* No host address (0): not backed by memory; all such are one kind. */
			if (haddr ? host - haddr != qemu_plugin_insn_vaddr(insn) - vaddr : host)
				break;
			size = fetch(code, size, insn);
		}
		run = run_at(vaddr, haddr, code, size);
		for (size_t i = from; i < to; i++) {
			count_one(qemu_plugin_tb_get_insn(tb, i), run);
			if (rom_size)
				watch_stores(qemu_plugin_tb_get_insn(tb, i));
		}
	}
	pthread_mutex_unlock(&guard);
}

static void write_runs(FILE *out)
{
	fprintf(out, "xipmatrix-residency 2 %s\n", target);
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct run *run = buckets[i]; run; run = run->next) {
			if (!count_of(run))
				continue;
			fprintf(out, "%" PRIx64 " %" PRIx64 " ", run->vaddr, run->haddr);
			for (size_t at = 0; at < run->size; at++)
				fprintf(out, "%02x", run->code[at]);
			fprintf(out, " %" PRIu64 "\n", count_of(run));
		}
}

static void write_stores(FILE *out)
{
	fprintf(out, "xipmatrix-stores 1 %" PRIu64 "\n", stores);
	for (uint64_t i = 0; i < stores && i < MOST_STORES; i++)
		fprintf(out, "%" PRIx64 " %" PRIx64 "\n", stored[i][0], stored[i][1]);
}

/* A file appears under its name only when it is whole. */
static void write_file(const char *path, void (*writer)(FILE *out))
{
	char partial[sizeof(out_path) + 8];
	FILE *out;

	snprintf(partial, sizeof(partial), "%s.part", path);
	out = fopen(partial, "w");
	if (!out)
		return;
	writer(out);
	if (!ferror(out) && !fclose(out))
		rename(partial, path);
}

static void write_all(void)
{
	write_file(out_path, write_runs);
	if (rom_size)
		write_file(stores_path, write_stores);
}

/* ---- what QEMU calls ---- */

#if PLUGIN_API >= 7
static void translated(struct qemu_plugin_tb *tb, void *data)
{
	(void)data;
	count_block(tb);
}

static void leave(void *data)
{
	(void)data;
	write_all();
}
#else
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	count_block(tb);
}

static void leave(qemu_plugin_id_t id, void *data)
{
	(void)id;
	(void)data;
	write_all();
}
#endif

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc,
			       char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			snprintf(out_path, sizeof(out_path), "%s", argv[i] + 4);
		if (!strncmp(argv[i], "stores=", 7))
			snprintf(stores_path, sizeof(stores_path), "%s", argv[i] + 7);
		if (!strncmp(argv[i], "from=", 5))
			rom_from = strtoull(argv[i] + 5, NULL, 0);
		if (!strncmp(argv[i], "size=", 5))
			rom_size = strtoull(argv[i] + 5, NULL, 0);
	}
	if (!out_path[0] || !stores_path[0] != !rom_size) {
		fprintf(stderr, "residency: out=<file> is missing, or half of stores= and size=\n");
		return 1;
	}
	snprintf(target, sizeof(target), "%s", info->target_name);
#if PLUGIN_API >= 7
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
#else
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
#endif
	qemu_plugin_register_atexit_cb(id, leave, NULL);
	return 0;
}
