/* What the parts of the bench guest share: operations, and how they are measured. */
#ifndef KVMABI_GUEST_BENCH_H
#define KVMABI_GUEST_BENCH_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define ROW_PORT 0xe00
#define MAX_SAMPLES 65536

/* What is measured: a kind of operation, and what it needs. */
enum kind { NOTHING, CPUID, VMCALL, INL, OUTB, MEM1, MEM2, MEM4, MEM8, IO1, IO2, IO4 };

struct operation {
	enum kind kind;
	u64 address, data;
};

/* How often each operation is made, and before that unmeasured; the cycles of each, sorted. */
extern u32 samples, warmup;
extern u32 cycles[MAX_SAMPLES];

/* Measure; what the second CPU wrote meanwhile is the result. */
u32 measure(const struct operation *op, int cpus);

/* Have the second CPU wait for work; once is enough. */
void start_second_cpu(void);

static inline void outb(u16 port, u8 value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void outl(u16 port, u32 value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline u8 inb(u16 port)
{
	u8 value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

#endif
