"""Made by `python -m cgap.backends.rtl.packages` from fpga_model/machine/registers.py. Do not edit."""

CTRL = 0x000  # what the accelerator is told to do
CTRL_START = 0x1
CTRL_LOAD = 0x2
CTRL_RESET = 0x4
STATUS = 0x004  # what the accelerator does
STATUS_IDLE = 0x1
STATUS_LOADED = 0x2
STATUS_DONE = 0x4
STATUS_ERROR = 0x8
ERROR = 0x008  # the first error since reset
ERROR_CODE = 0xF
ERROR_UNIT = 0x30
ERROR_COMMAND = 0xFFFFFF00
IRQ_ENABLE = 0x00C  # events that raise the interrupt
IRQ_ENABLE_DONE = 0x1
IRQ_ENABLE_ERROR = 0x2
IRQ_STATUS = 0x010  # events that have happened; writing 1 clears
IRQ_STATUS_DONE = 0x1
IRQ_STATUS_ERROR = 0x2
IMAGES = 0x014  # images of a start
IMAGES_DONE = 0x018  # images of this start that are done
WATCHDOG = 0x01C  # most cycles without a completed command or a beat before an error; 0: none
PROGRAM_BASE = 0x020  # where program.bin lies, a multiple of 4 KiB, like all bases
PARAMETER_BASE = 0x028  # where weights.bin lies
INPUT_BASE = 0x030  # where the first image lies
OUTPUT_BASE = 0x038  # where the outputs of the first image go
FEATURE_BASE = 0x040  # where feature maps between layers go
INPUT_STRIDE = 0x048  # bytes from one image to the next, a multiple of 4 KiB
OUTPUT_STRIDE = 0x050  # bytes from one image's outputs to the next's, a multiple of 4 KiB
CYCLES = 0x058  # cycles of the last image
BUSY_LOAD = 0x060  # cycles of the last image in which LOAD executed a command
BUSY_COMPUTE = 0x068  # the same of COMPUTE
BUSY_STORE = 0x070  # the same of STORE
HOLD = 0x078  # cycles of the last image in which the array waited for the drain
READ_BYTES = 0x080  # bytes read in the last image
WRITE_BYTES = 0x088  # bytes written in the last image
SATURATED = 0x090  # stored values of the last image that were saturated
BUILT_POX = 0x100  # what the accelerator is built for: a word of a program's header
BUILT_POY = 0x104  # what the accelerator is built for: a word of a program's header
BUILT_POF = 0x108  # what the accelerator is built for: a word of a program's header
BUILT_BEAT_BYTES = 0x10C  # what the accelerator is built for: a word of a program's header
BUILT_PAGES = 0x110  # what the accelerator is built for: a word of a program's header
BUILT_PAGE_DEPTH = 0x114  # what the accelerator is built for: a word of a program's header
BUILT_WEIGHT_DEPTH = 0x118  # what the accelerator is built for: a word of a program's header
BUILT_PARAMETER_DEPTH = 0x11C  # what the accelerator is built for: a word of a program's header
BUILT_KERNEL_COLUMNS = 0x120  # what the accelerator is built for: a word of a program's header
BUILT_STRIDE_COLUMNS = 0x124  # what the accelerator is built for: a word of a program's header
BUILT_SHORTCUT_STRIDE = 0x128  # what the accelerator is built for: a word of a program's header
BUILT_POOL_COLUMNS = 0x12C  # what the accelerator is built for: a word of a program's header
BUILT_POOL_STRIDE = 0x130  # what the accelerator is built for: a word of a program's header
BUILT_POOL_DILATION = 0x134  # what the accelerator is built for: a word of a program's header
BUILT_ROW_BY_ROW = 0x138  # what the accelerator is built for: a word of a program's header
BUILT_GROUPED = 0x13C  # what the accelerator is built for: a word of a program's header
BUILT_LEAKY = 0x140  # what the accelerator is built for: a word of a program's header
BUILT_LOAD_COMMANDS = 0x144  # what the accelerator is built for: a word of a program's header
BUILT_COMPUTE_COMMANDS = 0x148  # what the accelerator is built for: a word of a program's header
BUILT_STORE_COMMANDS = 0x14C  # what the accelerator is built for: a word of a program's header

HEADER_BYTES = 128
HEADER_PARAMETER_BYTES = 96
HEADER_INPUT_BYTES = 100
HEADER_OUTPUT_BYTES = 104
HEADER_FEATURE_BYTES = 108

ERRORS = (
    "none",
    "header: magic, version, geometry or a capability; `command` is the header's 32-bit word",
    "checksum of the program",
    "unknown command",
    "read response",
    "write response",
    "RLAST out of place",
    "start or load without a program or while running",
    "watchdog",
    "misaligned base or stride",
)
