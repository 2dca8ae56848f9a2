/*
 * The bench guest: how many cycles an operation takes, row by row, as told on its command line.
 *
 *   samples=N warmup=N           how often each operation is made; before that, unmeasured
 *   cpuid vmcall inl_from_pmtimer outl_to_kernel nothing      a row of this name
 *   pci-mem pci-io               a row for each test of pci-testdev's memory or I/O BAR
 *   mem:ADDR:WIDTH:DATA:CPUS:NAME, io:...    a row of writes there, by one or two CPUs at once
 *
 * For each row a line on the serial port: its name and the median of its cycles, which is the form
 * of the 2013 series, and behind them "key=value" pairs. ROW_PORT is told where a row starts and
 * ends, for a host that has something to do there. The same image runs under QEMU.
 */
#include "bench.h"
#include "pci.h"

#define SERIAL 0x3f8
#define DEBUG_EXIT 0xf4
#define ELCR 0x4d0			/* in the kernel's PIC */
#define TESTDEV_NAME 16
#define MAX_TESTS 16

static struct mailbox box;

/* Lines of text. */
static char line[512];
static u32 length;

static void put_char(char c)
{
	if (length < sizeof(line))
		line[length++] = c;
}

static void put(const char *text)
{
	while (*text)
		put_char(*text++);
}

static void put_number(u64 value)
{
	char digits[20];
	int n = 0;

	do {
		digits[n++] = '0' + value % 10;
		value /= 10;
	} while (value);
	while (n)
		put_char(digits[--n]);
}

static void put_pair(const char *key, u64 value)
{
	put(key);
	put_number(value);
}

static void flush(void)
{
	const char *from = line;
	u64 count;

	put_char('\n');
	count = length;
	__asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"((u16)SERIAL) : "memory");
	length = 0;
}

static void put_statistics(u32 more_writes)
{
	u64 sum = 0;

	for (u32 i = 0; i < samples; i++)
		sum += cycles[i];
	put_pair(" ", cycles[samples / 2]);
	put_pair(" made=", (u64)samples + warmup + more_writes);
	put_pair(" min=", cycles[0]);
	put_pair(" p25=", cycles[samples / 4]);
	put_pair(" p75=", cycles[samples - 1 - samples / 4]);
	put_pair(" p99=", cycles[samples - 1 - samples / 100]);
	put_pair(" max=", cycles[samples - 1]);
	put_pair(" mean=", sum / samples);
}

static void plain_row(const char *name, enum kind kind, u64 address, u64 data)
{
	struct operation op = { kind, address, data };

	measure(&op, 1);
	put(name);
	put_statistics(0);
	flush();
}

/* pci-testdev: its header is read a byte at a time, as every one of them allows. */
static u8 header_byte(int io, u64 base, u32 offset)
{
	return io ? inb(base + offset) : *(volatile u8 *)(base + offset);
}

static u32 header_word(int io, u64 base, u32 offset)
{
	u32 value = 0;

	for (int i = 3; i >= 0; i--)
		value = value << 8 | header_byte(io, base, offset + i);
	return value;
}

static void start_test(int io, u64 base, u8 number)
{
	if (io)
		outb(base, number);
	else
		*(volatile u8 *)base = number;
}

static enum kind kind_of(int io, u32 width)
{
	switch (width) {
	case 1: return io ? IO1 : MEM1;
	case 2: return io ? IO2 : MEM2;
	case 4: return io ? IO4 : MEM4;
	case 8: return io ? NOTHING : MEM8;
	default: return NOTHING;
	}
}

static void testdev_rows(int io)
{
	u64 base = io ? box.bar1_port : box.bar0_gpa;

	for (u32 test = 0; base && test < MAX_TESTS; test++) {
		struct operation op;

		start_test(io, base, test);
		op.kind = kind_of(io, header_byte(io, base, 1));
		if (op.kind == NOTHING)
			break;
		op.address = base + header_word(io, base, 4);
		op.data = header_word(io, base, 8);
		measure(&op, 1);
		for (u32 at = TESTDEV_NAME; at < TESTDEV_NAME + 40; at++) {
			char c = header_byte(io, base, at);

			if (!c)
				break;
			put_char(c);
		}
		put(io ? ":pci-io" : ":pci-mem");
		put_statistics(0);
		put_pair(" count=", header_word(io, base, 12));
		flush();
	}
	if (base)
		start_test(io, base, 0xff);
}

/* The ACPI timer's port: RSDP, RSDT, FADT. */
static u32 word_at(u32 address)
{
	return *(volatile u32 *)(u64)address;
}

static u32 pm_timer_port(void)
{
	for (u32 rsdp = 0xe0000; rsdp < 0x100000; rsdp += 16) {
		u32 rsdt, end;

		if (word_at(rsdp) != 0x20445352 || word_at(rsdp + 4) != 0x20525450)
			continue;
		rsdt = word_at(rsdp + 16);
		end = rsdt + word_at(rsdt + 4);
		for (u32 at = rsdt + 36; at + 4 <= end; at += 4)
			if (word_at(word_at(at)) == 0x50434146)
				return word_at(word_at(at) + 76);
	}
	return 0;
}

/* The command line. */
static int matches(const char **text, const char *word)
{
	const char *at = *text;

	while (*word)
		if (*at++ != *word++)
			return 0;
	*text = at;
	return 1;
}

static int is_word(const char *text, const char *word)
{
	return matches(&text, word) && (!*text || *text == ' ');
}

static u64 number(const char **text)
{
	u64 value = 0;

	while (**text >= '0' && **text <= '9')
		value = value * 10 + *(*text)++ - '0';
	if (**text == ':')
		(*text)++;
	return value;
}

static void custom_row(int io, const char *text)
{
	struct operation op;
	u32 cpus, more;

	op.address = number(&text);
	op.kind = kind_of(io, number(&text));
	op.data = number(&text);
	cpus = number(&text);
	if (cpus > 1)
		start_second_cpu();
	more = measure(&op, cpus);
	while (*text && *text != ' ')
		put_char(*text++);
	put_statistics(more);
	flush();
}

static void one_word(const char *text)
{
	if (matches(&text, "samples="))
		samples = number(&text);
	else if (matches(&text, "warmup="))
		warmup = number(&text);
	else if (matches(&text, "mem:"))
		custom_row(0, text);
	else if (matches(&text, "io:"))
		custom_row(1, text);
	else if (is_word(text, "pci-mem"))
		testdev_rows(0);
	else if (is_word(text, "pci-io"))
		testdev_rows(1);
	else if (is_word(text, "nothing"))
		plain_row("nothing", NOTHING, 0, 0);
	else if (is_word(text, "cpuid"))
		plain_row("cpuid", CPUID, 0, 0);
	else if (is_word(text, "vmcall"))
		plain_row("vmcall", VMCALL, 0, 0);
	else if (is_word(text, "outl_to_kernel"))
		plain_row("outl_to_kernel", OUTB, ELCR, 0);
	else if (is_word(text, "inl_from_pmtimer"))
		plain_row("inl_from_pmtimer", INL, pm_timer_port(), 0);
	if (samples < 1 || samples > MAX_SAMPLES)
		samples = MAX_SAMPLES;
}

void bench_main(const u32 *info)
{
	const char *text = info[0] & 4 ? (const char *)(u64)info[4] : "";
	u32 words = 0;

	if (pci_find_testdev(&box) != MAILBOX_READY)
		box.bar0_gpa = box.bar1_port = 0;
	while (*text) {
		if (*text != ' ' && words++)	/* the first is the image's own name */
			one_word(text);
		while (*text && *text != ' ')
			text++;
		while (*text == ' ')
			text++;
	}
	put("end");
	flush();
	outl(DEBUG_EXIT, 0);
}
