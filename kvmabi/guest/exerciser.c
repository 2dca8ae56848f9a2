/*
 * The exerciser: a guest that makes the accesses which its host puts into its mailbox.
 *
 * The host loads it above 1 MiB, in 64-bit mode with all memory mapped to itself, gives each vCPU
 * a mailbox and a stack, and starts every vCPU at _start. vCPU 0 finds the PCI test device first.
 * A halt tells the host that a batch has ended; entered again, the vCPU serves the next.
 */
#include "mailbox.h"
#include "pci.h"

void access_serve(struct mailbox *box) __attribute__((noreturn));
extern const unsigned char access_landing[], access_landing_end[];

/* Put behind custom instructions what stands behind every other access. */
static void prepare_code(struct mailbox *box)
{
	const unsigned char *from;
	unsigned char *to = box->code + MAILBOX_INSN_BYTES;

	for (from = access_landing; from != access_landing_end; from++)
		*to++ = *from;
}

void exerciser_main(struct mailbox *box)
{
	prepare_code(box);
	box->status = box->vcpu == 0 ? pci_find_testdev(box) : MAILBOX_READY;
	box->magic = MAILBOX_MAGIC;
	access_serve(box);
}
