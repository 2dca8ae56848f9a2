/*
 * The accesses themselves: one stub for each form of mailbox.h.
 *
 * A stub is the access instruction with the landing pads right behind it: one-byte instructions
 * (push) of which each moves the stack pointer by 8. If KVM resumes the guest anywhere else than
 * at the very next instruction, too few pads run (or, where it runs the access again, the device
 * sees it twice). Pushes, because they leave every register alone that an access uses or fills.
 */
#include "mailbox.h"

	.intel_syntax noprefix
	.code64

/* Offsets in struct mailbox_request and struct mailbox_response; a test compares them. */
	.set REQUEST_ADDRESS, 0
	.set REQUEST_DATA, 8
	.set REQUEST_COUNT, 20
	.set RESPONSE_VALUE, 0
	.set RESPONSE_CYCLES, 8
	.set RESPONSE_LANDING, 16
	.set RESPONSE_DONE, 20

	.section .text.start, "ax"

/* The host enters here: rdi = mailbox, rsp = top of this vCPU's stack. */
	.globl _start
_start:
	cld
	xor	ebp, ebp
	call	exerciser_main
1:	hlt
	jmp	1b

	.text

/*
 * void access_run(request *rdi, response *rsi, void *stub rdx, void *buffer rcx)
 *
 * Each stub finds: rax = data, rbx = address, dx = port, rcx = count, r11 = buffer.
 */
	.globl access_run
access_run:
	push	rbx
	push	r12
	push	r13
	push	r14
	push	r15
	mov	r12, rdi
	mov	r13, rsi
	mov	r14, rdx
	mov	r11, rcx
	mov	rbx, [r12 + REQUEST_ADDRESS]
	mov	ecx, [r12 + REQUEST_COUNT]
	mov	r10, [r12 + REQUEST_DATA]
	mov	r15, rsp
	lfence
	rdtsc
	shl	rdx, 32
	or	rdx, rax
	mov	r8, rdx
	mov	rax, r10
	mov	rdx, rbx
	jmp	r14

access_done:
	mov	r9, rax
	mov	r10, rsp
	lfence
	rdtsc
	shl	rdx, 32
	or	rax, rdx
	sub	rax, r8
	mov	rsp, r15
	sub	r15, r10
	shr	r15, 3
	mov	[r13 + RESPONSE_VALUE], r9
	mov	[r13 + RESPONSE_CYCLES], rax
	mov	[r13 + RESPONSE_LANDING], r15d
	mov	dword ptr [r13 + RESPONSE_DONE], 1
	pop	r15
	pop	r14
	pop	r13
	pop	r12
	pop	rbx
	ret

	.macro	LAND
	.rept	MAILBOX_LANDING_PADS
	push	rax
	.endr
	jmp	access_done
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
	movups	xmm0, [r11]
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
\name:	mov	rdi, rbx
	mov	rsi, r11
	rep \insn
	LAND
	.endm

	.macro	MOVS_FROM name, insn
\name:	mov	rdi, r11
	mov	rsi, rbx
	rep \insn
	LAND
	.endm

	.macro	STRING_PORT name, insn
\name:	mov	rdi, r11
	mov	rsi, r11
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

/* What a custom instruction's pads jump to: see exerciser.c. */
	.globl access_landed
access_landed:
	jmp	access_done

	.section .rodata
	.balign	8
	.globl access_stubs
access_stubs:
	.quad	store_1, store_2, store_4, store_8, store_16
	.quad	load_1, load_2, load_4, load_8
	.quad	out_1, out_2, out_4
	.quad	in_1, in_2, in_4
	.quad	movs_to_1, movs_to_2, movs_to_4, movs_to_8
	.quad	movs_from_1, movs_from_2, movs_from_4, movs_from_8
	.quad	outs_1, outs_2, outs_4
	.quad	ins_1, ins_2, ins_4
