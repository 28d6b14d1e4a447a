// SPDX-License-Identifier: GPL-2.0-only
/*
 * The test's init, the only userspace there is. It speaks a line protocol on the
 * console (protocol.py reads it); every line of its own begins with "XIPMATRIX-".
 *
 *	XIPMATRIX-INIT 1			protocol version: userspace is reached
 *	XIPMATRIX-CPUS <n>			CPUs that are online, hexadecimal
 *	XIPMATRIX-BASE <16 hex digits>		where the program is (virtual; without MMU physical)
 *	XIPMATRIX-REPLY <16 hex digits>		mix(challenge)
 *	XIPMATRIX-ZERO <n>			bytes of an untouched page that are not 0, hexadecimal
 *	XIPMATRIX-BEGIN <file>			the file's content follows
 *	XIPMATRIX-END <file>
 *	XIPMATRIX-SECTION <module> <section> 0x<hex digits>
 *						a module's code was loaded there (virtual)
 *	XIPMATRIX-JITED <program> <address> <bytes>
 *						a BPF program's machine code, 32 bytes a line
 *	XIPMATRIX-PROGRAM <name> <16 hex digits> <n>
 *						what a program in flash replied, and the kB of page
 *						cache that it took
 *	XIPMATRIX-FILE <name> <size> <digest>	a file in flash, the digest with the challenge as key
 *	XIPMATRIX-WORKLOAD <work> <n>		done so often, hexadecimal
 *	XIPMATRIX-DONE				power-off follows
 *	XIPMATRIX-HOLD <moment>			waits for a line, so that memory can be looked at
 *
 * The kernel itself prints its command line, so a challenge that is merely echoed
 * proves nothing. The reply is computed; protocol.py computes it independently.
 *
 * Kernel command line:
 *	xipmatrix.challenge=<16 hex digits>
 *	xipmatrix.poweroff=reset	restart instead: for boards without power switch
 *	xipmatrix.hold=1		wait at "userspace" and "poweroff" (HOLD_SECONDS at most)
 *	xipmatrix.drain=1		wait until the kernel's messages are out
 *	xipmatrix.modules=1		load all in /modules (workload.c)
 *	xipmatrix.bpf=1			use a BPF program
 *	xipmatrix.cramfs=1		use the file system in the kernel's flash (flash.c)
 *	xipmatrix.cfi=1			use the board's other flash
 *	xipmatrix.kexec=<entry>,<tree>	boot once more, by kexec: where the kernel is and the device
 *					tree goes (physical, 8 hex digits each)
 *	xipmatrix.mode=<mode>		negative controls of the judge, see enum below
 *
 * Built with the kernel's own nolibc, of 6.12 as of 7.3; without libgcc, so no
 * division and no variable 64-bit shift.
 */
#include <linux/reboot.h>

#include "init.h"

#define MAX_CPUS 1024
#define CMDLINE_SIZE 4096
/* The linker's name for the program's first byte. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

/* A console that takes no input costs so long, but does not fail a kernel. */
#define HOLD_SECONDS 30
/* The kernel prints from a thread of its own, later; a log buffer is out in some 0.1 s. */
#define DRAIN_SECONDS 2

/*
 * Negative controls: what a sound kernel's userspace must not be able to get passed. Not
 * pointers to text, which somebody would have to relocate on a machine without MMU.
 */
static const char modes[][12] = {
	"exit",		/* ends before it replies: the kernel panics */
	"hang",		/* sleeps before it replies */
	"spin",		/* burns the CPU before it replies */
	"flood",	/* prints without end */
	"noreply",	/* all but the reply */
	"badreply",	/* a reply with one bit wrong */
	"echo",		/* the challenge itself as the reply */
	"nopoweroff",	/* all is right, but it never powers off */
	"replay",	/* the right reply to another challenge, as an earlier run gave it */
	"reset",	/* all is right, but it restarts instead of powering off */
};
enum mode {
	MODE_EXIT, MODE_HANG, MODE_SPIN, MODE_FLOOD, MODE_NOREPLY, MODE_BADREPLY, MODE_ECHO,
	MODE_NOPOWEROFF, MODE_REPLAY, MODE_RESET, MODE_NORMAL
};

static void flush(const char *text, size_t left)
{
	while (left) {
		ssize_t done = write(1, text, left);

		if (done <= 0)
			return;
		text += done;
		left -= done;
	}
}

/* Whole lines go out in one write, so that the kernel's own come before or after them. */
void say(const char *text)
{
	static char line[128];
	static size_t fill;

	for (; *text; text++) {
		line[fill++] = *text;
		if (*text == '\n' || fill == sizeof(line)) {
			flush(line, fill);
			fill = 0;
		}
	}
}

void say_hex(uint64_t value, int digits)
{
	char text[17];
	int at = digits;

	text[at] = 0;
	while (at--) {
		text[at] = "0123456789abcdef"[value & 15];
		value >>= 4;
	}
	say(text);
}

/*
 * The reply to a challenge: xorshift64 and a multiplication, three rounds. The same
 * function, with test vectors, is protocol.reply() on the judge's side.
 */
uint64_t mix(uint64_t x)
{
	int round;

	for (round = 0; round < 3; round++) {
		x ^= 0x78697020696e6974ULL; /* "xip init" */
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		x *= 0x9e3779b97f4a7c15ULL;
		x += 1;
	}
	return x;
}

/* The value of a word `key` (with its '=') of the command line, or NULL. */
static const char *option(const char *cmdline, const char *key)
{
	size_t length = strlen(key);
	const char *at = cmdline;

	while (*at) {
		if (!strncmp(at, key, length))
			return at + length;
		while (*at && *at != ' ' && *at != '\n')
			at++;
		while (*at == ' ' || *at == '\n')
			at++;
	}
	return NULL;
}

static int is_word(const char *value, const char *word)
{
	size_t length = strlen(word);

	return value && !strncmp(value, word, length) &&
	       (!value[length] || value[length] == ' ' || value[length] == '\n');
}

uint64_t parse_hex(const char *text)
{
	uint64_t value = 0;

	for (; text; text++) {
		if (*text >= '0' && *text <= '9')
			value = (value << 4) | (*text - '0');
		else if (*text >= 'a' && *text <= 'f')
			value = (value << 4) | (*text - 'a' + 10);
		else
			break;
	}
	return value;
}

void show(const char *path)
{
	char part[512];
	ssize_t got;
	int fd = open(path, O_RDONLY);

	say("XIPMATRIX-BEGIN ");
	say(path);
	say("\n");
	if (fd >= 0) {
		while ((got = read(fd, part, sizeof(part))) > 0)
			flush(part, got);
		close(fd);
	}
	say("XIPMATRIX-END ");
	say(path);
	say("\n");
}

static int online_cpus(void)
{
	unsigned char mask[MAX_CPUS / 8];
	int cpus = 0;
	long bytes = syscall(__NR_sched_getaffinity, 0, sizeof(mask), mask);

	while (bytes-- > 0) {
		unsigned char bits = mask[bytes];

		for (; bits; bits &= bits - 1)
			cpus++;
	}
	return cpus;
}

/*
 * How many bytes of an anonymous page that nobody wrote are not 0. The kernel maps its zero
 * page for that, which an XIP kernel may have left in flash, and copies it on the first write.
 */
#define PAGE_BYTES 4096
static int not_zero(void)
{
	volatile unsigned char *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int at, found = 0;

	if (page == MAP_FAILED)
		return PAGE_BYTES;
	for (at = 0; at < PAGE_BYTES; at++)
		found += page[at] != 0;
	page[0] = 1;
	for (at = 1; at < PAGE_BYTES; at++)
		found += page[at] != 0;
	return found;
}

/*
 * Which of the kernel's messages reach the console, by syslog(SYSLOG_ACTION_CONSOLE_LEVEL).
 * A driver's message amid our lines would cut them; faults (emergency, alert and critical)
 * are shown always.
 */
#define LEVEL_WHILE_TALKING 3
#define LEVEL_USUAL 7
static void console_level(int level)
{
	syscall(__NR_syslog, 8, NULL, level);
}

/* Stand still until the judge, who stops the machine meanwhile, sends a line. */
static void hold(const char *moment)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };
	char line[16];

	say("XIPMATRIX-HOLD ");
	say(moment);
	say("\n");
	if (poll(&input, 1, HOLD_SECONDS * 1000) > 0)
		read(0, line, sizeof(line));
}

static __attribute__((noreturn)) void sleep_for_ever(void)
{
	for (;;)
		sleep(1000);
}

int main(void)
{
	static char cmdline[CMDLINE_SIZE];
	const char *challenge, *kexec, *wanted;
	uint64_t reply;
	int mode, holds, fd;

	mount("proc", "/proc", "proc", 0, NULL);
	fd = open("/proc/cmdline", O_RDONLY);
	if (fd >= 0) {
		read(fd, cmdline, sizeof(cmdline) - 1);
		close(fd);
	}
	kexec = option(cmdline, "xipmatrix.kexec=");
	if (kexec)
		boot_again(kexec);
	if (is_word(option(cmdline, "xipmatrix.drain="), "1"))
		sleep(DRAIN_SECONDS);
	console_level(LEVEL_WHILE_TALKING);
	wanted = option(cmdline, "xipmatrix.mode=");
	for (mode = 0; mode < MODE_NORMAL && !is_word(wanted, modes[mode]); mode++)
		;
	if (is_word(option(cmdline, "xipmatrix.poweroff="), "reset"))
		mode = mode == MODE_NORMAL ? MODE_RESET : mode;

	holds = is_word(option(cmdline, "xipmatrix.hold="), "1");

	/* An empty line first: the kernel may have been in the middle of one. */
	say("\nXIPMATRIX-INIT 1\nXIPMATRIX-CPUS ");
	say_hex(online_cpus(), 4);
	say("\nXIPMATRIX-BASE ");
	say_hex((uintptr_t)__ehdr_start, 16);
	say("\n");
	if (holds)
		hold("userspace");

	if (mode == MODE_EXIT)
		return 1;
	if (mode == MODE_HANG)
		sleep_for_ever();
	while (mode == MODE_SPIN)
		__asm__ volatile("");
	while (mode == MODE_FLOOD)
		say("XIPMATRIX-FLOOD ............................................\n");

	challenge = option(cmdline, "xipmatrix.challenge=");
	reply = mix(parse_hex(challenge));
	if (mode == MODE_BADREPLY)
		reply ^= 1;
	if (mode == MODE_REPLAY)
		reply = mix(1);
	if (mode == MODE_ECHO)
		reply = parse_hex(challenge);
	if (challenge && mode != MODE_NOREPLY) {
		say("XIPMATRIX-REPLY ");
		say_hex(reply, 16);
		say("\n");
	}

	say("XIPMATRIX-ZERO ");
	say_hex(not_zero(), 4);
	say("\n");
	if (is_word(option(cmdline, "xipmatrix.modules="), "1"))
		use_modules();
	if (is_word(option(cmdline, "xipmatrix.bpf="), "1"))
		use_bpf();
	if (challenge && is_word(option(cmdline, "xipmatrix.cramfs="), "1"))
		use_cramfs(challenge);
	if (challenge && is_word(option(cmdline, "xipmatrix.cfi="), "1"))
		use_cfi(challenge);
	if (kexec)
		report("kexec", is_second_boot(kexec));

	show("/proc/version");
	show("/proc/meminfo");
	show("/proc/iomem");
	say("XIPMATRIX-DONE\n");
	if (holds)
		hold("poweroff");
	console_level(LEVEL_USUAL);
	if (mode != MODE_NOPOWEROFF)
		reboot(mode == MODE_RESET ? LINUX_REBOOT_CMD_RESTART : LINUX_REBOOT_CMD_POWER_OFF);
	sleep_for_ever();
}
