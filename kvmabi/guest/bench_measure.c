/* Operations, timed one by one, on one CPU or two. */
#include "bench.h"

#define SECOND_CPU_PAGE 0x8000
#define LOCAL_APIC 0xfee00000ull

extern const u8 second_cpu[], second_cpu_end[];

u32 samples = 4096, warmup = 256;
u32 cycles[MAX_SAMPLES];

static u32 rows;
static struct operation shared;		/* what the second CPU repeats */
static volatile u32 second_is_up, second_goes, second_is_done;
static volatile u32 second_writes;

static inline __attribute__((always_inline)) u64 rdtsc(void)
{
	u32 low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (u64)high << 32 | low;
}

/* Make the operation so many times, and take the cycles of each where `into` is given. */
#define REPEAT(...)                                     \
	do {                                            \
		for (u32 i = 0; i < times; i++) {       \
			u64 start = rdtsc();            \
			__VA_ARGS__;                    \
			u64 end = rdtsc();              \
			if (into)                       \
				into[i] = end - start;  \
		}                                       \
	} while (0)

static void repeat(const struct operation *op, u32 times, u32 *into)
{
	u64 data = op->data;
	volatile void *at = (volatile void *)op->address;
	u16 port = op->address;
	u32 a, b, c, d;

	switch (op->kind) {
	case NOTHING:
		REPEAT();
		break;
	case CPUID:
		REPEAT(a = 0; c = 0;
		       __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)));
		break;
	case VMCALL:	/* KVM puts the CPU's own instruction here, where it is the other one */
		REPEAT(a = 1; __asm__ volatile("vmcall" : "+a"(a) : : "memory"));
		break;
	case INL:
		REPEAT(__asm__ volatile("inl %1, %0" : "=a"(a) : "d"(port) : "memory"));
		break;
	case OUTB:
	case IO1:
		REPEAT(__asm__ volatile("outb %b0, %1" : : "a"(data), "d"(port) : "memory"));
		break;
	case IO2:
		REPEAT(__asm__ volatile("outw %w0, %1" : : "a"(data), "d"(port) : "memory"));
		break;
	case IO4:
		REPEAT(__asm__ volatile("outl %k0, %1" : : "a"(data), "d"(port) : "memory"));
		break;
	case MEM1:
		REPEAT(__asm__ volatile("movb %b0, (%1)" : : "q"(data), "r"(at) : "memory"));
		break;
	case MEM2:
		REPEAT(__asm__ volatile("movw %w0, (%1)" : : "r"(data), "r"(at) : "memory"));
		break;
	case MEM4:
		REPEAT(__asm__ volatile("movl %k0, (%1)" : : "r"(data), "r"(at) : "memory"));
		break;
	case MEM8:
		REPEAT(__asm__ volatile("movq %0, (%1)" : : "r"(data), "r"(at) : "memory"));
		break;
	}
}

/*
 * By radix, a byte at a time, for as many bytes as the largest has: some back ends emulate a guest
 * like this one instruction by instruction, and sorting would take most of the time.
 */
static void sort(u32 *values, u32 count)
{
	static u32 copy[MAX_SAMPLES];
	u32 *from = values, *to = copy, all = 0;

	for (u32 i = 0; i < count; i++)
		all |= values[i];
	for (u32 shift = 0; shift < 32 && all >> shift; shift += 8) {
		u32 starts[257], *swap = from;

		for (u32 i = 0; i < 257; i++)
			starts[i] = 0;
		for (u32 i = 0; i < count; i++)
			starts[(from[i] >> shift & 0xff) + 1]++;
		for (u32 i = 1; i < 256; i++)
			starts[i] += starts[i - 1];
		for (u32 i = 0; i < count; i++)
			to[starts[from[i] >> shift & 0xff]++] = from[i];
		from = to;
		to = swap;
	}
	if (from != values)
		for (u32 i = 0; i < count; i++)
			values[i] = from[i];
}

u32 measure(const struct operation *op, int cpus)
{
	outl(ROW_PORT, rows << 1);
	if (cpus > 1) {
		shared = *op;
		second_writes = second_is_done = 0;
		second_goes = 1;
		while (!second_writes)
			__asm__ volatile("pause");
	}
	repeat(op, warmup, 0);
	repeat(op, samples, cycles);
	if (cpus > 1) {
		second_goes = 0;
		while (!second_is_done)
			__asm__ volatile("pause");
	}
	outl(ROW_PORT, rows++ << 1 | 1);
	sort(cycles, samples);
	return cpus > 1 ? second_writes : 0;
}

/* The second CPU: repeats what it is given for as long as it is told to. */
void second_main(void)
{
	second_is_up = 1;
	for (;;) {
		u32 made = 0;

		while (!second_goes)
			__asm__ volatile("pause");
		while (second_goes) {
			repeat(&shared, 1, 0);
			second_writes = ++made;
		}
		second_is_done = 1;
	}
}

void start_second_cpu(void)
{
	volatile u32 *command = (volatile u32 *)(LOCAL_APIC + 0x300);
	volatile u32 *spurious = (volatile u32 *)(LOCAL_APIC + 0xf0);
	u8 *page = (u8 *)SECOND_CPU_PAGE;

	if (second_is_up)
		return;
	for (u32 i = 0; i < (u32)(second_cpu_end - second_cpu); i++)
		page[i] = second_cpu[i];
	*spurious |= 0x100;
	*command = 0xc4500;				/* INIT to all but this one */
	for (u64 until = rdtsc() + 20000000; rdtsc() < until;)
		__asm__ volatile("pause");
	*command = 0xc4600 | SECOND_CPU_PAGE >> 12;	/* start-up, at that page */
	while (!second_is_up)
		__asm__ volatile("pause");
}
