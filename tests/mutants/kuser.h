/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * init, but one that calls a kuser helper before main(): __kuser_get_tls, at the end of the
 * vector page (Documentation/arch/arm/kernel_user_helpers.rst).
 */
static __attribute__((constructor)) void call_kuser_helper(void)
{
	volatile unsigned int tls = ((unsigned int (*)(void))0xffff0fe0)();

	(void)tls;
}
