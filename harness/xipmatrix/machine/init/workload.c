// SPDX-License-Identifier: GPL-2.0-only
/*
 * Work for code that a kernel rightly executes from RAM: modules and BPF programs. The
 * kernel itself says where it put such code, and the judge (loaded.py) takes nothing else
 * in RAM for it.
 */
#include <asm/socket.h>
#include <linux/bpf.h>
#include <linux/kexec.h>
#include <linux/reboot.h>

#include "init.h"

#define MODULES "/modules/"
#define SUFFIX ".ko"
#define RUNS 128
#define AF_UNIX 1
/* Unlike SOCK_DGRAM, one number on all architectures. */
#define SOCK_SEQPACKET 5
#define BYTES_A_LINE 32

static char *append(char *to, const char *text)
{
	while ((*to = *text++))
		to++;
	return to;
}

static int contains(const char *text, const char *part)
{
	for (; *text; text++)
		if (!strncmp(text, part, strlen(part)))
			return 1;
	return 0;
}

void report(const char *work, int count)
{
	say("XIPMATRIX-WORKLOAD ");
	say(work);
	say(" ");
	say_hex(count, 4);
	say("\n");
}

int each(const char *folder, int (*use)(const char *path, const char *name))
{
	char entries[1024] __attribute__((aligned(8)));
	int fd = open(folder, O_RDONLY | O_DIRECTORY);
	long got, at;
	int sum = 0;

	while (fd >= 0 && (got = syscall(__NR_getdents64, fd, entries, sizeof(entries))) > 0) {
		for (at = 0; at < got;) {
			struct linux_dirent64 *entry = (void *)(entries + at);
			char path[256];

			append(append(path, folder), entry->d_name);
			sum += use(path, entry->d_name);
			at += entry->d_reclen;
		}
	}
	if (fd >= 0)
		close(fd);
	return sum;
}

static const char *module;

static int say_section(const char *path, const char *name)
{
	char address[32];
	ssize_t got;
	int fd;

	if (!contains(name, "text"))
		return 0;
	fd = open(path, O_RDONLY);
	got = read(fd, address, sizeof(address) - 1);
	close(fd);
	if (got <= 0)
		return 0;
	address[got] = 0; /* it ends in a newline */
	say("XIPMATRIX-SECTION ");
	say(module);
	say(" ");
	say(name);
	say(" ");
	say(address);
	return 1;
}

/*
 * By its sections, the kernel says where it put a module's code, and even where the code
 * was that is gone once the module has begun. A module that is a file system is mounted
 * too, so that not only its beginning is executed.
 */
static int use_module(const char *path, const char *file)
{
	char name[64], sections[128];
	int fd = open(path, O_RDONLY);
	long failed = syscall(__NR_finit_module, fd, "", 0);

	close(fd);
	if (failed)
		return 0;
	append(name, file);
	name[strlen(name) - strlen(SUFFIX)] = 0;
	append(append(append(sections, "/sys/module/"), name), "/sections/");
	module = name;
	each(sections, say_section);
	mount(name, "/mnt", name, 0, NULL);
	return 1;
}

void use_modules(void)
{
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	report("modules", each(MODULES, use_module));
}

/*
 * A socket filter that keeps all of a datagram but its last three bytes: what arrives
 * tells that it ran.
 */
#define CUT_OFF 3
static const struct bpf_insn program[] = {
	{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_0, .src_reg = BPF_REG_1,
	  .off = offsetof(struct __sk_buff, len) },
	{ .code = BPF_ALU64 | BPF_SUB | BPF_K, .dst_reg = BPF_REG_0, .imm = CUT_OFF },
	{ .code = BPF_JMP | BPF_EXIT },
};

static int load_program(void)
{
	static union bpf_attr attr;

	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (uintptr_t)program;
	attr.insn_cnt = sizeof(program) / sizeof(program[0]);
	attr.license = (uintptr_t)"GPL";
	append(attr.prog_name, "workload");
	return syscall(__NR_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* The machine code that the kernel made of it, and where that is. */
static void say_machine_code(int fd)
{
	static unsigned char code[1024];
	static union bpf_attr attr;
	uint64_t address = 0;
	struct bpf_prog_info info = {
		.jited_prog_insns = (uintptr_t)code,
		.jited_prog_len = sizeof(code),
		.jited_ksyms = (uintptr_t)&address,
		.nr_jited_ksyms = 1,
	};
	uint32_t at;

	attr.info.bpf_fd = fd;
	attr.info.info = (uintptr_t)&info;
	attr.info.info_len = sizeof(info);
	if (syscall(__NR_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)))
		return;
	for (at = 0; at < info.jited_prog_len && at < sizeof(code); at++) {
		if (at % BYTES_A_LINE == 0) {
			say(at ? "\nXIPMATRIX-JITED " : "XIPMATRIX-JITED ");
			say(info.name);
			say(" ");
			say_hex(address + at, 16);
			say(" ");
		}
		say_hex(code[at], 2);
	}
	say("\n");
}

/* The program stays until the machine is powered off: nobody closes it. */
void use_bpf(void)
{
	char datagram[8] = "datagram";
	int ends[2], runs = 0, round;
	int fd = load_program();

	if (fd >= 0 && !syscall(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET, 0, ends) &&
	    !syscall(__NR_setsockopt, ends[1], SOL_SOCKET, SO_ATTACH_BPF, &fd, sizeof(fd))) {
		say_machine_code(fd);
		for (round = 0; round < RUNS; round++)
			if (write(ends[0], datagram, sizeof(datagram)) == sizeof(datagram) &&
			    read(ends[1], datagram, sizeof(datagram)) ==
			    sizeof(datagram) - CUT_OFF)
				runs++;
	}
	report("bpf", runs);
}

/*
 * kexec into the very kernel that runs, which is in flash already. Only the device tree goes
 * along, in RAM, with a mark in it, so that the second boot is not followed by a third.
 */
#define KEXEC_OPTION "xipmatrix.kexec="
#define MARK '-'
#define MAX_TREE 65536

int is_second_boot(const char *where)
{
	return *where == MARK;
}

void boot_again(const char *where)
{
	static char tree[MAX_TREE];
	struct kexec_segment segment = { .buf = tree, .memsz = MAX_TREE };
	size_t option = strlen(KEXEC_OPTION), size = 0, at;
	const char *address = where;
	ssize_t got;
	int fd;

	if (is_second_boot(where))
		return;
	while (*address && *address++ != ',')
		;
	segment.mem = (void *)(uintptr_t)parse_hex(address);

	mkdir("/sys", 0555);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	fd = open("/sys/firmware/fdt", O_RDONLY);
	while (fd >= 0 && size < MAX_TREE && (got = read(fd, tree + size, MAX_TREE - size)) > 0)
		size += got;
	for (at = 0; at + option < size; at++)
		if (!memcmp(tree + at, KEXEC_OPTION, option))
			tree[at + option] = MARK;
	segment.bufsz = size;
	if (size && !syscall(__NR_kexec_load, (unsigned long)parse_hex(where), 1UL, &segment, 0UL))
		reboot(LINUX_REBOOT_CMD_KEXEC);
}
