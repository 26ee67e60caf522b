/* Puts the zeros of .bss into the file of a shim, which every program that starts then maps with the rest of its data.
 *
 * Zeros that a file does not hold are an extra mapping, a page that the dynamic linker clears, and a page that the
 * destructors touch: for each shim, in each process (benchmarks/start.py). A linker writes an output section to the
 * file when one of its inputs is there, so a byte is enough. Named by -u, as --gc-sections would drop it. */
__asm__(".pushsection .bss.filled,\"aw\",@progbits\n"
        ".globl vgpu_filled\n"
        ".hidden vgpu_filled\n"
        "vgpu_filled: .byte 0\n"
        ".popsection\n");
