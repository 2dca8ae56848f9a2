/*
 * The accesses themselves: one stub for each form of mailbox.h, and the loop over a batch.
 *
 * Right behind the access instruction of each stub stands a jump over landing pads: one-byte
 * pushes, of which each moves the stack pointer by 8. If KVM resumes the guest at the very next
 * instruction, that jump is taken and says that all is well. If KVM skips too much, by 1 to 15
 * bytes, the guest lands on a pad (the jump's own second byte is one, 0x50 is push rax), runs those
 * that are left, and their number tells how far it went astray. (If KVM runs the access again, the
 * device sees it twice.) A jump rather than 16 pads to run, because instructions are dear where
 * KVM emulates each.
 */
#include "mailbox.h"

	.intel_syntax noprefix
	.code64

/* Offsets in struct mailbox and its requests; a test compares them. */
	.set BOX_CURRENT, 16
	.set BOX_END, 20
	.set BOX_STACK, 48
	.set BOX_TIMED, 56
	.set BOX_REQUESTS, 64
	.set BOX_CODE, 8768
	.set REQUEST_ADDRESS, 0
	.set REQUEST_DATA, 8
	.set REQUEST_FORM, 16
	.set REQUEST_COUNT, 20
	.set REQUEST_BUFFER, 24
	.set REQUEST_INSN_LENGTH, 28
	.set REQUEST_INSN, 32
	.set REQUEST_VALUE, 48
	.set REQUEST_CYCLES, 56
	.set REQUEST_LANDING, 64
	.set REQUEST_BYTES, 72

	.section .text.start, "ax"

/* The host enters here: rdi = mailbox, rsp = top of this vCPU's stack. */
	.globl _start
_start:
	cld
	xor	ebp, ebp
	call	exerciser_main
	ud2

	.text

/*
 * void access_serve(struct mailbox *rdi): halt, serve a batch, and so on for ever.
 *
 * A stub finds rax = data, rbx = address, dx = port; it may use rcx, rsi and rdi. Kept throughout:
 * rbp = mailbox, r12 = request, r13 = end of the requests, r11 = where a stub goes on, r10 = where
 * it goes astray, r9 = `landing` and `done` as they should be, r8 = start time.
 */
	.globl access_serve
access_serve:
	mov	rbp, rdi
	mov	[rbp + BOX_STACK], rsp
	lea	r10, [rip + astray]
	movabs	r9, MAILBOX_LANDING_PADS + (1 << 32)

halt:
	mov	dword ptr [rbp + BOX_CURRENT], 0
	hlt
	lea	r12, [rbp + BOX_REQUESTS]
	mov	r13d, [rbp + BOX_END]
	cmp	dword ptr [rbp + BOX_TIMED], 0
	jnz	timed_batch

	lea	r11, [rip + plain_done]
plain_next:
	mov	[rbp + BOX_CURRENT], r12d
	mov	rbx, [r12 + REQUEST_ADDRESS]
	mov	rax, [r12 + REQUEST_DATA]
	mov	edx, ebx
	mov	ecx, [r12 + REQUEST_FORM]
	jmp	[access_stubs + rcx * 8]
plain_done:
	mov	[r12 + REQUEST_VALUE], rax
	mov	[r12 + REQUEST_LANDING], r9
	add	r12, REQUEST_BYTES
	cmp	r12, r13
	jb	plain_next
	jmp	halt

timed_batch:
	lea	r11, [rip + timed_done]
timed_next:
	mov	[rbp + BOX_CURRENT], r12d
	mov	rbx, [r12 + REQUEST_ADDRESS]
	mov	ecx, [r12 + REQUEST_FORM]
	mov	rsi, [access_stubs + rcx * 8]
	lfence
	rdtsc
	shl	rdx, 32
	lea	r8, [rdx + rax]
	mov	rax, [r12 + REQUEST_DATA]
	mov	edx, ebx
	jmp	rsi
timed_done:
	mov	[r12 + REQUEST_VALUE], rax
	lfence
	rdtsc
	shl	rdx, 32
	or	rax, rdx
	sub	rax, r8
	mov	[r12 + REQUEST_CYCLES], rax
	mov	[r12 + REQUEST_LANDING], r9
	add	r12, REQUEST_BYTES
	cmp	r12, r13
	jb	timed_next
	jmp	halt

/* Landed on a pad: write down how many pushes there were, and go on. */
astray:
	mov	rcx, [rbp + BOX_STACK]
	sub	rcx, rsp
	shr	rcx, 3
	mov	rsp, [rbp + BOX_STACK]
	mov	[r12 + REQUEST_VALUE], rax
	mov	[r12 + REQUEST_LANDING], ecx
	mov	dword ptr [r12 + REQUEST_LANDING + 4], 1
	add	r12, REQUEST_BYTES
	cmp	r12, r13
	jae	halt
	cmp	dword ptr [rbp + BOX_TIMED], 0
	jnz	timed_next
	jmp	plain_next

/* 0xeb 0x50: jump 80 bytes ahead of its end; there are 14 pads and a way out for the astray. */
	.macro	LAND
	.byte	0xeb, 0x50
	.rept	MAILBOX_LANDING_PADS - 2
	push	rax
	.endr
	jmp	r10
	.fill	80 - (MAILBOX_LANDING_PADS - 2) - 3, 1, 0xcc
	jmp	r11
	.endm

store_1:	mov	[rbx], al
	LAND
store_2:	mov	[rbx], ax
	LAND
store_4:	mov	[rbx], eax
	LAND
store_8:	mov	[rbx], rax
	LAND
store_16:
	mov	esi, [r12 + REQUEST_BUFFER]
	movups	xmm0, [rsi]
	movups	[rbx], xmm0
	LAND

load_1:	mov	al, [rbx]
	LAND
load_2:	mov	ax, [rbx]
	LAND
load_4:	mov	eax, [rbx]
	LAND
load_8:	mov	rax, [rbx]
	LAND

out_1:	out	dx, al
	LAND
out_2:	out	dx, ax
	LAND
out_4:	out	dx, eax
	LAND

in_1:	in	al, dx
	LAND
in_2:	in	ax, dx
	LAND
in_4:	in	eax, dx
	LAND

	.macro	MOVS_TO name, insn
\name:	mov	ecx, [r12 + REQUEST_COUNT]
	mov	esi, [r12 + REQUEST_BUFFER]
	mov	rdi, rbx
	rep \insn
	LAND
	.endm

	.macro	MOVS_FROM name, insn
\name:	mov	ecx, [r12 + REQUEST_COUNT]
	mov	edi, [r12 + REQUEST_BUFFER]
	mov	rsi, rbx
	rep \insn
	LAND
	.endm

	.macro	STRING_PORT name, insn
\name:	mov	ecx, [r12 + REQUEST_COUNT]
	mov	edi, [r12 + REQUEST_BUFFER]
	mov	esi, edi
	rep \insn
	LAND
	.endm

	MOVS_TO movs_to_1, movsb
	MOVS_TO movs_to_2, movsw
	MOVS_TO movs_to_4, movsd
	MOVS_TO movs_to_8, movsq
	MOVS_FROM movs_from_1, movsb
	MOVS_FROM movs_from_2, movsw
	MOVS_FROM movs_from_4, movsd
	MOVS_FROM movs_from_8, movsq
	STRING_PORT outs_1, outsb
	STRING_PORT outs_2, outsw
	STRING_PORT outs_4, outsd
	STRING_PORT ins_1, insb
	STRING_PORT ins_2, insw
	STRING_PORT ins_4, insd

/* The request's own instruction, put into `code` so that it ends where the landing begins. */
custom:
	mov	rsi, [r12 + REQUEST_INSN]
	mov	[rbp + BOX_CODE], rsi
	mov	rsi, [r12 + REQUEST_INSN + 8]
	mov	[rbp + BOX_CODE + 8], rsi
	mov	ecx, [r12 + REQUEST_INSN_LENGTH]
	lea	rsi, [rbp + BOX_CODE + MAILBOX_INSN_BYTES]
	sub	rsi, rcx
	jmp	rsi

/* What exerciser.c copies behind it; it runs anywhere. */
	.globl access_landing, access_landing_end
access_landing:
	LAND
access_landing_end:

	.section .rodata
	.balign	8
access_stubs:
	.quad	store_1, store_2, store_4, store_8, store_16
	.quad	load_1, load_2, load_4, load_8
	.quad	out_1, out_2, out_4
	.quad	in_1, in_2, in_4
	.quad	movs_to_1, movs_to_2, movs_to_4, movs_to_8
	.quad	movs_from_1, movs_from_2, movs_from_4, movs_from_8
	.quad	outs_1, outs_2, outs_4
	.quad	ins_1, ins_2, ins_4
	.quad	custom
