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

static unsigned int config_read(unsigned int bdf, unsigned int offset)
{
	outl(CONFIG_ADDRESS, CONFIG_ENABLE | bdf << 8 | offset);
	return inl(CONFIG_DATA);
}

static void config_write(unsigned int bdf, unsigned int offset, unsigned int value)
{
	outl(CONFIG_ADDRESS, CONFIG_ENABLE | bdf << 8 | offset);
	outl(CONFIG_DATA, value);
}

/* The size that a BAR decodes: write ones, see which stick, and put the address back. */
static unsigned int bar_bytes(unsigned int bdf, unsigned int offset, unsigned int old,
			      unsigned int mask)
{
	unsigned int sticking;

	config_write(bdf, offset, 0xffffffffu);
	sticking = config_read(bdf, offset) & mask;
	config_write(bdf, offset, old);
	if (offset == PCI_BAR1)
		sticking |= 0xffff0000u;	/* I/O BARs may leave the upper half out */
	return ~sticking + 1;
}

enum mailbox_status pci_find_testdev(struct mailbox *box)
{
	unsigned int device, bdf = 0, bar0, bar1, command;

	for (device = 0; device < DEVICES; device++) {
		bdf = device << 3;
		if (config_read(bdf, PCI_ID) == TESTDEV_ID)
			break;
	}
	if (device == DEVICES)
		return MAILBOX_NO_DEVICE;

	command = config_read(bdf, PCI_COMMAND) & 0xffff;
	bar0 = config_read(bdf, PCI_BAR0);
	bar1 = config_read(bdf, PCI_BAR1);
	if ((bar0 & BAR_IS_IO) || !(bar1 & BAR_IS_IO))
		return MAILBOX_ODD_BARS;
	box->bdf = bdf;
	box->bar0_gpa = bar0 & BAR_MEMORY_MASK;
	box->bar1_port = bar1 & BAR_IO_MASK;
	box->bar0_bytes = bar_bytes(bdf, PCI_BAR0, bar0, BAR_MEMORY_MASK);
	box->bar1_bytes = bar_bytes(bdf, PCI_BAR1, bar1, BAR_IO_MASK);
	if (!box->bar0_bytes || !box->bar1_bytes)
		return MAILBOX_ODD_BARS;
	config_write(bdf, PCI_COMMAND, command | COMMAND_IO | COMMAND_MEMORY);
	return MAILBOX_READY;
}
