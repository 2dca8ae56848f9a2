/*
 * The exerciser: a guest that makes the accesses which its host puts into its mailbox.
 *
 * The host loads it above 1 MiB, in 64-bit mode with all memory mapped to itself, gives each vCPU
 * a mailbox and a stack, and starts every vCPU at _start. vCPU 0 finds the PCI test device first.
 * A halt tells the host that a batch has ended; entered again, the vCPU serves the next.
 */
#include "mailbox.h"
#include "pci.h"

void access_batch(struct mailbox *box);
extern const unsigned char access_landing[], access_landing_end[];

/* Put behind custom instructions what stands behind every other access. */
static void prepare_code(struct mailbox *box)
{
	const unsigned char *from;
	unsigned char *to = box->code + MAILBOX_INSN_BYTES;

	for (from = access_landing; from != access_landing_end; from++)
		*to++ = *from;
}

void exerciser_main(volatile struct mailbox *shared)
{
	struct mailbox *box = (struct mailbox *)shared;
	enum mailbox_status status = MAILBOX_READY;

	prepare_code(box);
	shared->current = MAILBOX_NOTHING;
	if (shared->vcpu == 0)
		status = pci_find_testdev(box);
	shared->magic = MAILBOX_MAGIC;
	for (;;) {
		shared->status = status;
		__asm__ volatile("hlt" : : : "memory");
		shared->status = MAILBOX_SERVING;
		access_batch(box);
		shared->served += shared->count;
	}
}
