/* Calls of the kernel, and the entry point of a program, on aarch64. */
#ifndef KERNEL_AARCH64_H
#define KERNEL_AARCH64_H

/* Makes a system call. Returns its result, which is a negative error number on failure. */
static inline long kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

/* Passes the first stack pointer to kernel_start. The kernel leaves the number of arguments, the
 * arguments, the environment and the auxiliary vector there. */
__asm__(".section .text._start, \"ax\", %progbits\n"
	".globl _start\n"
	"_start:\n\t"
	"mov x29, xzr\n\t"
	"mov x0, sp\n\t"
	"b kernel_start\n\t"
	".text");

#endif
