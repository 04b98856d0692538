/* The meter on a Cortex-M3 without an operating system, at the first UART of the board mps2-an385. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "device.h"

struct uart {
	volatile uint32_t data;
	volatile uint32_t state;
	volatile uint32_t control;
	volatile uint32_t interrupt;
	volatile uint32_t divider;
};

enum { CANNOT_SEND = 1, HAS_RECEIVED = 2 };

static struct uart *const uart = (struct uart *)0x40004000;

/* Addresses from the linker: initialized data, zeroed data, and the end of memory. */
extern uint32_t data_from[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];

void *memmove(void *to, const void *from, size_t size)
{
	uint8_t *out = to;
	const uint8_t *in = from;

	if (out < in)
		for (size_t i = 0; i < size; i++)
			out[i] = in[i];
	else
		for (size_t i = size; i > 0; i--)
			out[i - 1] = in[i - 1];
	return to;
}

void line_write(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		while (uart->state & CANNOT_SEND)
			;
		uart->data = data[i];
	}
}

static void start(void)
{
	const uint32_t *from = data_from;

	for (uint32_t *to = data_start; to < data_end; to++)
		*to = *from++;
	for (uint32_t *to = bss_start; to < bss_end; to++)
		*to = 0;
	uart->divider = 16;
	uart->control = 3; /* enables sending and receiving */
	device_start();
	for (;;)
		if (uart->state & HAS_RECEIVED)
			device_take((uint8_t)uart->data);
}

static void fault(void)
{
	for (;;)
		;
}

/* The vector table: the stack, and the handlers of a reset and of faults. */
__attribute__((section(".vectors"), used)) static const struct {
	uint32_t *stack;
	void (*handlers[15])(void);
} vectors = { stack_top, { start, fault, fault, fault, fault, fault } };
