/* System calls, and the entry point of a program, on x86-64. */
#ifndef KERNEL_X86_64_H
#define KERNEL_X86_64_H

/* Makes a system call. Returns its result, which is a negative error number on failure. */
static inline long kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* Passes the first stack pointer to kernel_start. The kernel leaves the number of arguments, the
 * arguments, the environment and the auxiliary vector there. */
__asm__(".section .text._start, \"ax\", @progbits\n"
	".globl _start\n"
	"_start:\n\t"
	"xor %ebp, %ebp\n\t"
	"mov %rsp, %rdi\n\t"
	"and $-16, %rsp\n\t"
	"call kernel_start\n\t"
	".text");

#endif
