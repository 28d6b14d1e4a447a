// SPDX-License-Identifier: GPL-2.0-only
/*
 * Work in flash, while the kernel executes from it: a cramfs behind the kernel, with a program
 * that is executed in place and one that is not, and the flash that the kernel is not in. The
 * device tree gives the MTD devices their names.
 */
#include <mtd/mtd-abi.h>

#include "init.h"

#define FILE_SYSTEM "mtd:filesystem"
#define MOUNTED "/flash/"
#define OTHER_FLASH "\"other\""
#define OTHER_DEVICE "/other"
#define MTD_CHAR_MAJOR 90
#define DIGITS 16
#define READ_BYTES 4096
#define PATTERN_BYTES 256
#define ERASED 0xff

/* The first `size` bytes of a file, ending in NUL; what there is no room for is left out. */
static const char *content(const char *path, char *text, size_t size)
{
	size_t fill = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY);

	while (fd >= 0 && fill < size - 1 && (got = read(fd, text + fill, size - 1 - fill)) > 0)
		fill += got;
	if (fd >= 0)
		close(fd);
	text[fill] = 0;
	return text;
}

/* What stands behind the first `part` of `text`, or NULL. */
static const char *behind(const char *text, const char *part)
{
	size_t length = strlen(part);

	for (; *text; text++)
		if (!strncmp(text, part, length))
			return text + length;
	return NULL;
}

static uint64_t number(const char *text)
{
	uint64_t value = 0;

	while (text && *text == ' ')
		text++;
	for (; text && *text >= '0' && *text <= '9'; text++)
		value = value * 10 + *text - '0';
	return value;
}

/* kB of page cache. */
static uint64_t cached(void)
{
	static char text[4096];

	return number(behind(content("/proc/meminfo", text, sizeof(text)), "\nCached:"));
}

static char word[DIGITS + 1];

/* Execute a program with the challenge, and say what it writes. */
static int run_program(const char *path, const char *name)
{
	char *argv[] = { (char *)path, word, NULL }, *environment[] = { NULL };
	char reply[DIGITS + 1] = "";
	uint64_t before = cached();
	struct stat about;
	int ends[2], status;
	size_t fill = 0;
	ssize_t got;
	pid_t child;

	if (*name == '.' || stat(path, &about) || !(about.st_mode & S_IXUSR) || pipe(ends))
		return 0;
	child = fork();
	if (!child) {
		dup2(ends[1], 1);
		execve(path, argv, environment);
		exit(1);
	}
	close(ends[1]);
	while (fill < DIGITS && (got = read(ends[0], reply + fill, DIGITS - fill)) > 0)
		fill += got;
	close(ends[0]);
	if (child < 0 || waitpid(child, &status, 0) != child || status || fill != DIGITS)
		return 0;
	say("XIPMATRIX-PROGRAM ");
	say(name);
	say(" ");
	say_hex(parse_hex(reply), DIGITS);
	say(" ");
	say_hex(cached() - before, 4);
	say("\n");
	return 1;
}

/* FNV-1a; protocol.digest() is its twin. */
static uint64_t add_to_digest(uint64_t digest, const unsigned char *data, size_t size)
{
	for (; size; size--)
		digest = (digest ^ *data++) * 0x100000001b3ULL;
	return digest;
}

/* Say a file's size and its digest, which begins at the reply to the challenge. */
static int say_file(const char *path, const char *name)
{
	static unsigned char part[READ_BYTES];
	uint64_t digest = mix(parse_hex(word)), size = 0;
	ssize_t got;
	int fd;

	if (*name == '.')
		return 0;
	fd = open(path, O_RDONLY);
	while (fd >= 0 && (got = read(fd, part, sizeof(part))) > 0) {
		digest = add_to_digest(digest, part, got);
		size += got;
	}
	if (fd >= 0)
		close(fd);
	say("XIPMATRIX-FILE ");
	say(name);
	say(" ");
	say_hex(size, 8);
	say(" ");
	say_hex(digest, DIGITS);
	say("\n");
	return 1;
}

/* Programs first: reading their files would take the page cache that they do without. */
void use_cramfs(const char *challenge)
{
	int done = 0;

	memcpy(word, challenge, DIGITS);
	mkdir(MOUNTED, 0755);
	if (!mount(FILE_SYSTEM, MOUNTED, "cramfs", MS_RDONLY, NULL)) {
		done = each(MOUNTED, run_program);
		each(MOUNTED, say_file);
	}
	report("cramfs", done);
}

/* The number of the MTD device of that name, or -1. */
static int mtd_number(const char *quoted)
{
	static char text[1024];
	const char *line = content("/proc/mtd", text, sizeof(text)), *end;
	size_t length = strlen(quoted);

	while ((line = behind(line, "\nmtd"))) {
		for (end = line; *end && *end != '\n'; end++)
			;
		if (end - line > (ssize_t)length && !strncmp(end - length, quoted, length))
			return number(line);
	}
	return -1;
}

/* How many bytes of a block there are as they should be. */
static int use_block(int fd, const struct mtd_info_user *info, uint64_t seed)
{
	struct erase_info_user block = { .start = info->size - info->erasesize,
					 .length = info->erasesize };
	static unsigned char pattern[PATTERN_BYTES], seen[2 * PATTERN_BYTES];
	int at, right = 0;

	for (at = 0; at < PATTERN_BYTES; at++) {
		seed = mix(seed);
		pattern[at] = seed;
	}
	if (ioctl(fd, MEMERASE, &block) ||
	    lseek(fd, block.start, SEEK_SET) != block.start ||
	    write(fd, pattern, sizeof(pattern)) != sizeof(pattern) ||
	    lseek(fd, block.start, SEEK_SET) != block.start ||
	    read(fd, seen, sizeof(seen)) != sizeof(seen))
		return 0;
	for (at = 0; at < (int)sizeof(seen); at++)
		right += seen[at] == (at < PATTERN_BYTES ? pattern[at] : ERASED);
	return right;
}

void use_cfi(const char *challenge)
{
	int nth = mtd_number(OTHER_FLASH), right = 0, fd;
	struct mtd_info_user info;

	if (nth >= 0) {
		/* Of each MTD device there is a second one that is only read. */
		mknod(OTHER_DEVICE, S_IFCHR | 0600, makedev(MTD_CHAR_MAJOR, 2 * nth));
		fd = open(OTHER_DEVICE, O_RDWR);
		if (fd >= 0 && !ioctl(fd, MEMGETINFO, &info))
			right = use_block(fd, &info, mix(parse_hex(challenge)));
	}
	report("cfi", right);
}
