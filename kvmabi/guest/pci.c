/* Finding the PCI test device by configuration mechanism 1: ports 0xcf8 and 0xcfc. */
#include "pci.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define CONFIG_ENABLE 0x80000000u

#define PCI_ID 0x00
#define PCI_COMMAND 0x04
#define PCI_BAR0 0x10
#define PCI_BAR1 0x14
#define COMMAND_IO 1u
#define COMMAND_MEMORY 2u
#define BAR_IS_IO 1u
#define BAR_MEMORY_MASK 0xfffffff0u
#define BAR_IO_MASK 0xfffffffcu

#define TESTDEV_ID 0x00051b36u
#define DEVICES 32

static void outl(unsigned short port, unsigned int value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static unsigned int inl(unsigned short port)
{
	unsigned int value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

/* Let CONFIG_DATA be this register from now on. */
static void config_select(unsigned int bdf, unsigned int offset)
{
	outl(CONFIG_ADDRESS, CONFIG_ENABLE | bdf << 8 | offset);
}

static unsigned int config_read(unsigned int bdf, unsigned int offset)
{
	config_select(bdf, offset);
	return inl(CONFIG_DATA);
}

struct bar {
	unsigned int address;	/* with the type bits */
	unsigned int sticking;	/* what is left of ones written there */
};

/* What is in a BAR, and which of its bits can be set; the address is put back. */
static struct bar probe_bar(unsigned int bdf, unsigned int offset)
{
	struct bar bar;

	bar.address = config_read(bdf, offset);
	outl(CONFIG_DATA, 0xffffffffu);
	bar.sticking = inl(CONFIG_DATA);
	outl(CONFIG_DATA, bar.address);
	return bar;
}

enum mailbox_status pci_find_testdev(struct mailbox *box)
{
	unsigned int device, bdf = 0, command;
	struct bar bar0, bar1;

	for (device = 0; device < DEVICES; device++) {
		bdf = device << 3;
		if (config_read(bdf, PCI_ID) == TESTDEV_ID)
			break;
	}
	if (device == DEVICES)
		return MAILBOX_NO_DEVICE;

	bar0 = probe_bar(bdf, PCI_BAR0);
	bar1 = probe_bar(bdf, PCI_BAR1);
	if ((bar0.address & BAR_IS_IO) || !(bar1.address & BAR_IS_IO))
		return MAILBOX_ODD_BARS;
	box->bdf = bdf;
	box->bar0_gpa = bar0.address & BAR_MEMORY_MASK;
	box->bar0_bytes = ~(bar0.sticking & BAR_MEMORY_MASK) + 1;
	box->bar1_port = bar1.address & BAR_IO_MASK;
	/* I/O BARs may leave the upper half out. */
	box->bar1_bytes = ~((bar1.sticking & BAR_IO_MASK) | 0xffff0000u) + 1;
	if (!box->bar0_bytes || !box->bar1_bytes)
		return MAILBOX_ODD_BARS;

	command = config_read(bdf, PCI_COMMAND) & 0xffff;
	outl(CONFIG_DATA, command | COMMAND_IO | COMMAND_MEMORY);
	return MAILBOX_READY;
}
