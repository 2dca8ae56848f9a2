/*
 * The bench guest's way from a multiboot loader to 64-bit C, and a second CPU's from its SIPI.
 * Source: Multiboot Specification 0.6.96, 3.1 and 3.2; Intel SDM volume 3A, 9.8.5 and 8.4.
 */
#define MULTIBOOT_MAGIC 0x1badb002
#define PRESENT_WRITABLE 0x3
#define LARGE_PAGE 0x83
#define MAPPED_2M_PAGES 2048	/* 4 GiB */
#define CR0_PE 0x1
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define CODE64 0x08
#define DATA 0x10
#define CODE32 0x18
#define STACK_BYTES 16384

	.section .text.start, "ax"
	.code32
	.balign 4
	.long MULTIBOOT_MAGIC, 0, -MULTIBOOT_MAGIC

	.globl _start
_start:
	cli
	cld
	movl %ebx, boot_info
	/* One level 4 and one level 3 table, and four of level 2 with pages of 2 MiB. */
	movl $level3 + PRESENT_WRITABLE, level4
	movl $level2 + PRESENT_WRITABLE, level3
	movl $level2 + 0x1000 + PRESENT_WRITABLE, level3 + 8
	movl $level2 + 0x2000 + PRESENT_WRITABLE, level3 + 16
	movl $level2 + 0x3000 + PRESENT_WRITABLE, level3 + 24
	movl $level2, %edi
	movl $LARGE_PAGE, %eax
	movl $MAPPED_2M_PAGES, %ecx
1:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	decl %ecx
	jnz 1b
	lgdt gdt_pointer
	movl $start64, %esi
	jmp enter_64_bits

/* Switch to 64-bit mode and go on at %esi. */
enter_64_bits:
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $level4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $CR0_PE | CR0_PG, %eax
	movl %eax, %cr0
	ljmp $CODE64, $1f

	.code64
1:	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %esi, %esi
	jmp *%rsi

start64:
	movl $boot_stack_top, %esp
	movl boot_info, %edi
	call bench_main
1:	cli
	hlt
	jmp 1b

/* Where the second CPU comes to life, in real mode; copied to a page below 1 MiB first. */
	.globl second_cpu, second_cpu_end
	.code16
second_cpu:
	cli
	lgdtl %cs:(low_gdt_pointer - second_cpu)
	movl %cr0, %eax
	orl $CR0_PE, %eax
	movl %eax, %cr0
	ljmpl $CODE32, $second_cpu32
	.balign 4
low_gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
second_cpu_end:

	.code32
second_cpu32:
	movl $DATA, %eax
	movl %eax, %ds
	movl $second64, %esi
	jmp enter_64_bits

	.code64
second64:
	movl $second_stack_top, %esp
	call second_main
1:	cli
	hlt
	jmp 1b

	.section .data
	.balign 8
gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* 64-bit code */
	.quad 0x00cf93000000ffff	/* data */
	.quad 0x00cf9b000000ffff	/* 32-bit code */
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
	.balign 4
boot_info:
	.long 0

	.section .bss
	.balign 4096
level4:	.skip 4096
level3:	.skip 4096
level2:	.skip 4 * 4096
	.skip STACK_BYTES
boot_stack_top:
	.skip STACK_BYTES
second_stack_top:
