/* Made by `python -m cgap.backends.rtl.packages` from fpga_model/machine/registers.py. Do not edit. */
#ifndef CGAP_REGISTERS_H
#define CGAP_REGISTERS_H

/* what the accelerator is told to do */
#define CGAP_CTRL 0x000u
#define CGAP_CTRL_START 0x1u /* run IMAGES images */
#define CGAP_CTRL_LOAD 0x2u /* load the program at PROGRAM_BASE */
#define CGAP_CTRL_RESET 0x4u /* back to idle; clears an error, and a sound program stays */
/* what the accelerator does */
#define CGAP_STATUS 0x004u
#define CGAP_STATUS_IDLE 0x1u /* nothing is going on */
#define CGAP_STATUS_LOADED 0x2u /* a sound program is there */
#define CGAP_STATUS_DONE 0x4u /* all images are done; cleared by a start */
#define CGAP_STATUS_ERROR 0x8u /* there was an error */
/* the first error since reset */
#define CGAP_ERROR 0x008u
#define CGAP_ERROR_CODE 0xfu /* 0 none; 1 header: magic, version, geometry or a capability; `command` is the header's 32-bit word; 2 checksum of the program; 3 unknown command; 4 read response; 5 write response; 6 RLAST out of place; 7 start or load without a program or while running; 8 watchdog; 9 misaligned base or stride */
#define CGAP_ERROR_UNIT 0x30u /* 0 LOAD, 1 COMPUTE, 2 STORE */
#define CGAP_ERROR_COMMAND 0xffffff00u /* commands of that unit that the image had completed */
/* events that raise the interrupt */
#define CGAP_IRQ_ENABLE 0x00cu
#define CGAP_IRQ_ENABLE_DONE 0x1u /* all images are done */
#define CGAP_IRQ_ENABLE_ERROR 0x2u /* there was an error */
/* events that have happened; writing 1 clears */
#define CGAP_IRQ_STATUS 0x010u
#define CGAP_IRQ_STATUS_DONE 0x1u /* all images are done */
#define CGAP_IRQ_STATUS_ERROR 0x2u /* there was an error */
/* images of a start */
#define CGAP_IMAGES 0x014u
/* images of this start that are done */
#define CGAP_IMAGES_DONE 0x018u
/* most cycles without a completed command or a beat before an error; 0: none */
#define CGAP_WATCHDOG 0x01cu
/* where program.bin lies, a multiple of 4 KiB, like all bases (64 bits: low word, high word) */
#define CGAP_PROGRAM_BASE 0x020u
/* where weights.bin lies (64 bits: low word, high word) */
#define CGAP_PARAMETER_BASE 0x028u
/* where the first image lies (64 bits: low word, high word) */
#define CGAP_INPUT_BASE 0x030u
/* where the outputs of the first image go (64 bits: low word, high word) */
#define CGAP_OUTPUT_BASE 0x038u
/* where feature maps between layers go (64 bits: low word, high word) */
#define CGAP_FEATURE_BASE 0x040u
/* bytes from one image to the next, a multiple of 4 KiB (64 bits: low word, high word) */
#define CGAP_INPUT_STRIDE 0x048u
/* bytes from one image's outputs to the next's, a multiple of 4 KiB (64 bits: low word, high word) */
#define CGAP_OUTPUT_STRIDE 0x050u
/* cycles of the last image (64 bits: low word, high word) */
#define CGAP_CYCLES 0x058u
/* cycles of the last image in which LOAD executed a command (64 bits: low word, high word) */
#define CGAP_BUSY_LOAD 0x060u
/* the same of COMPUTE (64 bits: low word, high word) */
#define CGAP_BUSY_COMPUTE 0x068u
/* the same of STORE (64 bits: low word, high word) */
#define CGAP_BUSY_STORE 0x070u
/* cycles of the last image in which the array waited for the drain (64 bits: low word, high word) */
#define CGAP_HOLD 0x078u
/* bytes read in the last image (64 bits: low word, high word) */
#define CGAP_READ_BYTES 0x080u
/* bytes written in the last image (64 bits: low word, high word) */
#define CGAP_WRITE_BYTES 0x088u
/* stored values of the last image that were saturated (64 bits: low word, high word) */
#define CGAP_SATURATED 0x090u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_POX 0x100u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_POY 0x104u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_POF 0x108u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_BEAT_BYTES 0x10cu
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_PAGES 0x110u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_PAGE_DEPTH 0x114u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_WEIGHT_DEPTH 0x118u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_PARAMETER_DEPTH 0x11cu
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_KERNEL_COLUMNS 0x120u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_STRIDE_COLUMNS 0x124u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_SHORTCUT_STRIDE 0x128u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_POOL_COLUMNS 0x12cu
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_POOL_STRIDE 0x130u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_POOL_DILATION 0x134u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_ROW_BY_ROW 0x138u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_GROUPED 0x13cu
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_LEAKY 0x140u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_LOAD_COMMANDS 0x144u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_COMPUTE_COMMANDS 0x148u
/* what the accelerator is built for: a word of a program's header */
#define CGAP_BUILT_STORE_COMMANDS 0x14cu

/* Bytes of a program's header, and where in it the bytes of the DRAM regions are. */
#define CGAP_HEADER_BYTES 128u
#define CGAP_HEADER_PARAMETER_BYTES 96u
#define CGAP_HEADER_INPUT_BYTES 100u
#define CGAP_HEADER_OUTPUT_BYTES 104u
#define CGAP_HEADER_FEATURE_BYTES 108u

/* What the codes in ERROR mean. */
#define CGAP_ERRORS \
  { \
    "none", \
    "header: magic, version, geometry or a capability; 'command' is the header's 32-bit word", \
    "checksum of the program", \
    "unknown command", \
    "read response", \
    "write response", \
    "RLAST out of place", \
    "start or load without a program or while running", \
    "watchdog", \
    "misaligned base or stride", \
  }

#endif
