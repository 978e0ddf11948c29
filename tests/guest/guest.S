# A guest for QEMU's machine `microvm` that boots in a twentieth of a second: see README.md.
    .section .note.Xen,"a",@note
    .align 4
    .long 4, 4, 18
    .asciz "Xen"
    .long _start
    .text
    .code32
    .globl _start
_start:
    cld
    mov $stack_top, %esp
    mov 24(%ebx), %ebp              # hvm_start_info.cmdline_paddr
    lgdt gdtr
    ljmp $8, $1f
1:  mov $16, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    # idt: vectors 32..47 -> irq
    mov $idt, %edi
    mov $48, %ecx
    mov $irq, %eax
2:  mov %ax, (%edi)
    movw $8, 2(%edi)
    movw $0x8e00, 4(%edi)
    mov %eax, %edx
    shr $16, %edx
    mov %dx, 6(%edi)
    add $8, %edi
    loop 2b
    lidt idtr
    # mask both PICs; local APIC timer, periodic, 10 Hz at 1 GHz
    mov $0xff,%al ; outb %al,$0x21 ; outb %al,$0xa1
    movl $0x1ff,0xfee000f0
    movl $0xb,0xfee003e0
    movl $0x20020,0xfee00320
    movl $100000000,0xfee00380
    # 16 hexadecimal digits that tell this boot from any other
    mov $boot_id,%edi
    call draw
    call draw
    mov $msg_cmd,%esi ; call puts
    mov %ebp,%esi ; test %esi,%esi ; jz 3f ; call puts
3:  mov $msg_ready,%esi ; call puts
    # a command line that begins with do=X gives the command X
    test %ebp,%ebp ; jz main
    cmpb $'d',(%ebp) ; jne main
    cmpb $'o',1(%ebp) ; jne main
    cmpb $'=',2(%ebp) ; jne main
    mov 3(%ebp),%al
    jmp obey
main:
    sti
    hlt
    jmp main
poll:
    mov $0x3fd,%dx ; inb %dx,%al ; test $1,%al ; jz ged
    mov $0x3f8,%dx ; inb %dx,%al
obey:
    cmp $'p',%al ; je poweroff
    cmp $'r',%al ; je reset
    cmp $'c',%al ; je crash
    cmp $'h',%al ; je hang
    cmp $'k',%al ; je panic
    cmp $'.',%al ; jne poll
    mov $'!',%al ; call putc ; mov $10,%al ; call putc
    jmp poll
ged:
    mov 0xfea00000,%eax
    test $2,%al
    jz main
    mov $msg_btn,%esi ; call puts
poweroff:
    mov $msg_off,%esi ; call puts
    movb $0x34,0xfea00200           # SLP_TYP=5<<2 | SLP_EN
    jmp hang
reset:
    movb $0x42,0xfea00202
    jmp hang
crash:
    mov $msg_crash,%esi ; call puts
    lidt idtr0
    int3
panic:
    mov $msg_panic,%esi ; call puts
    mov $0x505,%dx ; mov $1,%al ; outb %al,%dx # to pvpanic
hang:
    cli
    hlt
    jmp hang
# No iret, so that it also runs where KVM cannot emulate that.
irq: movl $0,0xfee000b0
    mov $stack_top,%esp
    # one more tick, in eight decimal digits
    mov $digits_end-1,%edi
4:  incb (%edi)
    cmpb $'9',(%edi)
    jbe 5f
    movb $'0',(%edi)
    dec %edi
    cmp $digits,%edi
    jae 4b
5:  mov $msg_tick,%esi ; call puts
    jmp poll
# Eight digits of chance to (%edi): from the processor's source, or from its clock where it has none.
draw:
    mov $1,%eax ; cpuid
    bt $30,%ecx ; jnc 6f
    rdrand %eax ; jc 7f
6:  rdtsc
    imul $0x9e3779b1,%eax
7:  mov $8,%ecx
8:  rol $4,%eax
    mov %al,%dl ; and $15,%dl ; add $'0',%dl
    cmp $'9',%dl ; jbe 9f
    add $'a'-'0'-10,%dl
9:  mov %dl,(%edi) ; inc %edi
    loop 8b
    ret
putc: push %edx ; push %eax
    mov $0x3f8,%dx ; outb %al,%dx
    pop %eax ; pop %edx ; ret
puts: lodsb ; test %al,%al ; jz 9f ; call putc ; jmp puts
9:  ret
    .data
msg_cmd: .asciz "GUEST-CMDLINE "
msg_ready: .asciz "\nGUEST-READY\n"
msg_btn: .asciz "GUEST-POWERBUTTON\n"
msg_off: .asciz "GUEST-POWEROFF\n"
msg_crash: .asciz "GUEST-CRASH\n"
msg_panic: .asciz "GUEST-PANIC\n"
msg_tick: .ascii "GUEST-TICK "
digits: .ascii "00000000"
digits_end: .ascii " "
boot_id: .ascii "0000000000000000"
    .asciz "\n"
    .align 8
gdt: .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr: .word gdtr-gdt-1 ; .long gdt
idtr: .word 48*8-1 ; .long idt
idtr0: .word 0 ; .long 0
    .bss
    .align 16
idt: .skip 48*8
stack: .skip 4096
stack_top:
