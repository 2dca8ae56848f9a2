/*
 * The exerciser: a guest that makes the accesses which its host puts into its mailbox.
 *
 * The host loads it at 1 MiB and up, in 64-bit mode with all memory mapped to itself, gives each
 * vCPU a mailbox and a stack, and starts every vCPU at _start. vCPU 0 finds the PCI test device
 * first. A halt tells the host that a batch has ended; entered again, the vCPU serves the next.
 */
#include "mailbox.h"
#include "pci.h"

#define PUSH_RAX 0x50
#define JMP_REL32 0xe9

void access_run(const struct mailbox_request *request, struct mailbox_response *response,
		const void *stub, void *buffer);
extern const void *const access_stubs[];
extern const char access_landed[];

/* The bytes behind a custom instruction: landing pads, then the way back. */
static void prepare_code(struct mailbox *box)
{
	unsigned char *next = box->code + MAILBOX_INSN_BYTES;
	int pad, distance, byte;

	for (pad = 0; pad < MAILBOX_LANDING_PADS; pad++)
		*next++ = PUSH_RAX;
	*next++ = JMP_REL32;
	distance = (int)(access_landed - (const char *)(next + 4));
	for (byte = 0; byte < 4; byte++)
		*next++ = (unsigned char)((unsigned int)distance >> (8 * byte));
}

/* The custom instruction, put so that it ends where the pads begin. */
static const void *custom_stub(struct mailbox *box, const struct mailbox_request *request)
{
	volatile unsigned char *start = box->code + MAILBOX_INSN_BYTES - request->insn_length;
	unsigned int byte;

	for (byte = 0; byte < request->insn_length; byte++)
		start[byte] = request->insn[byte];
	return (const void *)start;
}

static int serve(struct mailbox *box, unsigned int index)
{
	const struct mailbox_request *request = &box->requests[index];
	const void *stub;

	if (request->form >= FORM_COUNT || request->buffer >= MAILBOX_BUFFER_BYTES)
		return 0;
	if (request->form != FORM_CUSTOM)
		stub = access_stubs[request->form];
	else if (request->insn_length - 1 < MAILBOX_INSN_BYTES)
		stub = custom_stub(box, request);
	else
		return 0;
	access_run(request, &box->responses[index], stub, box->buffer + request->buffer);
	return 1;
}

static enum mailbox_status serve_batch(struct mailbox *box)
{
	unsigned int index, count = box->count;

	if (count > MAILBOX_BATCH)
		return MAILBOX_BAD_REQUEST;
	for (index = 0; index < count; index++) {
		box->current = index;
		if (!serve(box, index))
			return MAILBOX_BAD_REQUEST;
		box->served++;
	}
	box->current = MAILBOX_NOTHING;
	return MAILBOX_READY;
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
		status = serve_batch(box);
	}
}
