/*
 * The mailbox that the exerciser guest and its host share: one a vCPU, in guest memory.
 *
 * The host fills `requests`, `end` and `timed`, and enters the guest, which serves the requests in
 * order, writes their results behind them, and halts. The same layout stands in mailbox.py; a test
 * compares the two.
 * All numbers are little endian; every struct is free of padding. The guest trusts the host: it
 * checks nothing of a request. On some KVM back ends each of its instructions costs a third of a
 * microsecond, so the host works out what it can.
 */
#ifndef KVMABI_MAILBOX_H
#define KVMABI_MAILBOX_H

#define MAILBOX_MAGIC 0x3174736574626b76 /* "vkbtest1" */
#define MAILBOX_BATCH 64
#define MAILBOX_BUFFER_BYTES 4096
#define MAILBOX_INSN_BYTES 16
#define MAILBOX_LANDING_PADS 16
#define MAILBOX_CODE_BYTES 128

#ifndef __ASSEMBLER__

/* `status`: how starting went. */
enum mailbox_status {
	MAILBOX_BOOTING,
	MAILBOX_READY,
	MAILBOX_NO_DEVICE,	/* no PCI 1b36:0005 on bus 0 */
	MAILBOX_ODD_BARS,	/* BAR0 is no memory, or BAR1 no I/O, or one has no size */
};

/* `form` of a request: what kind of instruction makes the access. */
enum mailbox_form {
	FORM_STORE_1,		/* mov [address], al */
	FORM_STORE_2,
	FORM_STORE_4,
	FORM_STORE_8,
	FORM_STORE_16,		/* movups [address], xmm0, from the buffer */
	FORM_LOAD_1,		/* mov al, [address] */
	FORM_LOAD_2,
	FORM_LOAD_4,
	FORM_LOAD_8,
	FORM_OUT_1,		/* out dx, al */
	FORM_OUT_2,
	FORM_OUT_4,
	FORM_IN_1,		/* in al, dx */
	FORM_IN_2,
	FORM_IN_4,
	FORM_MOVS_TO_1,		/* rep movsb, buffer to address: `count` elements upwards */
	FORM_MOVS_TO_2,
	FORM_MOVS_TO_4,
	FORM_MOVS_TO_8,
	FORM_MOVS_FROM_1,	/* rep movsb, address to buffer */
	FORM_MOVS_FROM_2,
	FORM_MOVS_FROM_4,
	FORM_MOVS_FROM_8,
	FORM_OUTS_1,		/* rep outsb, from the buffer */
	FORM_OUTS_2,
	FORM_OUTS_4,
	FORM_INS_1,		/* rep insb, to the buffer */
	FORM_INS_2,
	FORM_INS_4,
	FORM_CUSTOM,		/* `insn`: a store of rax to [rbx], or an out of rax to dx */
	FORM_COUNT,
};


struct mailbox_request {
	unsigned long long address;	/* guest address, equal to the gpa; or the port */
	unsigned long long data;	/* the accumulator before the access */
	unsigned int form;
	unsigned int count;		/* elements of a string access */
	unsigned int buffer;		/* guest address of its elements, in `buffer` */
	unsigned int insn_length;
	unsigned char insn[MAILBOX_INSN_BYTES];	/* the instruction, up against the end */
	/* From here on the guest writes. */
	unsigned long long value;	/* the accumulator after the access */
	unsigned long long cycles;	/* by the time-stamp counter, where the batch is timed */
	unsigned int landing;		/* MAILBOX_LANDING_PADS, or fewer if KVM went astray */
	unsigned int done;
};

struct mailbox {
	unsigned long long magic;	/* written by the guest */
	unsigned int status;
	unsigned int vcpu;		/* written by the host */
	unsigned int current;		/* address of the request being served; 0 between batches */
	unsigned int end;		/* address behind the last request; written by the host */
	unsigned long long bar0_gpa;	/* what the guest found out */
	unsigned int bar0_bytes;
	unsigned int bar1_port;
	unsigned int bar1_bytes;
	unsigned int bdf;		/* bus << 8 | device << 3 | function */
	unsigned long long stack;	/* the guest's own: its stack pointer while it serves */
	unsigned int timed;		/* written by the host: whether to take the cycles */
	unsigned int reserved;
	struct mailbox_request requests[MAILBOX_BATCH];
	unsigned char buffer[MAILBOX_BUFFER_BYTES];
	unsigned char code[MAILBOX_CODE_BYTES];	/* the guest's own: a FORM_CUSTOM stub */
};

#endif
#endif
