// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program for the file system in flash. Its argument is a challenge of 16 hexadecimal digits,
 * its output a number in as many: what its steps, each in a page of its own, make of the
 * challenge. So all of its text must be right, and was executed. protocol.program_reply() is its twin.
 *
 * Built with the kernel's own nolibc, without libgcc: no division, no variable 64-bit shift.
 */
#define DIGITS 16
#define PAGE_BYTES 4096

#define STEP(n) \
	__attribute__((noinline, aligned(PAGE_BYTES))) static uint64_t step_##n(uint64_t x) \
	{ \
		x ^= x << 13; \
		x ^= x >> 7; \
		x ^= x << 17; \
		return x * 0x9e3779b97f4a7c15ULL + 0x1##n; \
	}
#define CALL(n) x = step_##n(x);
#define EIGHT(what, d) what(d##0) what(d##1) what(d##2) what(d##3) \
	what(d##4) what(d##5) what(d##6) what(d##7)
#define ALL(what) EIGHT(what, 0) EIGHT(what, 1) EIGHT(what, 2) EIGHT(what, 3)

ALL(STEP)

static uint64_t parse(const char *text)
{
	uint64_t value = 0;

	for (; *text; text++)
		value = (value << 4) | (*text <= '9' ? *text - '0' : *text - 'a' + 10);
	return value;
}

int main(int argc, char **argv)
{
	char text[DIGITS];
	uint64_t x;
	int at;

	if (argc < 2)
		return 1;
	x = parse(argv[1]);
	ALL(CALL)
	for (at = DIGITS; at--; x >>= 4)
		text[at] = "0123456789abcdef"[x & 15];
	return write(1, text, DIGITS) != DIGITS;
}
