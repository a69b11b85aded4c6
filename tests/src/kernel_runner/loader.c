/* Runs compiled kernels from a file and writes what they left in their buffers.
 *
 * Usage: loader IN OUT [SECONDS]. IN holds cases of little-endian 64-bit words and padded bytes, as kernel_runner/mod.rs writes them.
 * Every buffer ends at an unmapped page, and in a second run starts after one, so a stray access of a single byte
 * kills the loader, which then names the case. What is mapped beside a buffer must stay as it was. A case that runs for longer
 * than SECONDS is killed likewise. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#endif

typedef int32_t kernel_fn(const uint64_t *args, int64_t begin, int64_t end);

/* The run-time ABI, as tflc.h has it. */
typedef void task_fn(void *context, uint64_t index);
struct parallel {
    void (*run)(const struct parallel *self, task_fn *task, void *context, uint64_t n);
};
typedef int32_t invoke_fn(const uint8_t *weights, uint8_t *arena, uint8_t *state, const void *const *inputs, void *const *outputs,
                          const struct parallel *parallel);

/* Runs tasks last to first: any order must do. */
static void run_backwards(const struct parallel *self, task_fn *task, void *context, uint64_t n) {
    (void)self;
    while (n > 0) task(context, --n);
}

static const struct parallel BACKWARDS = {run_backwards};

static const size_t PAGE = 65536; /* the largest page size in use */
static uint64_t current;
static const char *phase = "start";

static void on_signal(int sig) {
    fprintf(stderr, "case %llu died by signal %d (%s)\n", (unsigned long long)current, sig, phase);
    _exit(3);
}

static void die(const char *what) {
    perror(what);
    exit(2);
}

static size_t pages(size_t n) { return (n + PAGE - 1) / PAGE * PAGE; }

static uint8_t *guarded(size_t n, int at_end, uint8_t **map) {
    size_t inner = pages(n ? n : 1);
    uint8_t *p = mmap(0, inner + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("mmap");
    if (mprotect(p + PAGE, inner, PROT_READ | PROT_WRITE)) die("mprotect");
    memset(p + PAGE, 0x5A, inner);
    *map = p;
    return at_end ? p + PAGE + inner - n : p + PAGE;
}

static uint64_t word(const uint8_t **p) {
    uint64_t v;
    memcpy(&v, *p, 8);
    *p += 8;
    return v;
}

/* Whether the mapped bytes beside a buffer are as they were. */
static int untouched(const uint8_t *data, size_t n, const uint8_t *map) {
    const uint8_t *from = map + PAGE, *to = from + pages(n ? n : 1);
    for (const uint8_t *p = from; p < data; p++)
        if (*p != 0x5A) return 0;
    for (const uint8_t *p = data + n; p < to; p++)
        if (*p != 0x5A) return 0;
    return 1;
}

static size_t padded(size_t n) { return (n + 7) / 8 * 8; }

/* Linux gives tiles (AMX) to processes that ask for them: ARCH_REQ_XCOMP_PERM of the tiles' contents. Kernels that use them come only where it does. */
static void ask_for_tiles(void) {
#if defined(__x86_64__) && defined(__linux__)
    syscall(SYS_arch_prctl, 0x1023, 18);
#endif
}

int main(int argc, char **argv) {
    if (argc != 3 && argc != 4) return 2;
    ask_for_tiles();
    unsigned seconds = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
    FILE *f = fopen(argv[1], "rb");
    if (!f) die(argv[1]);
    fseek(f, 0, SEEK_END);
    size_t size = ftell(f);
    rewind(f);
    uint8_t *all = malloc(size);
    if (fread(all, 1, size, f) != size) die("read");
    fclose(f);
    FILE *out = fopen(argv[2], "wb");
    if (!out) die(argv[2]);
    int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGALRM};
    for (int i = 0; i < 6; i++) signal(signals[i], on_signal);

    const uint8_t *p = all;
    uint64_t cases = word(&p);
    for (current = 0; current < cases; current++) {
        uint64_t code_len = word(&p), buffers = word(&p), slots = word(&p);
        int64_t begin = word(&p), end = word(&p);
        /* 0: a kernel; 1: an invoke without a pool; 2: with one. */
        uint64_t kind = word(&p), entry = word(&p), inputs = word(&p);
        uint8_t *code = mmap(0, pages(code_len), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (code == MAP_FAILED) die("mmap");
        memcpy(code, p, code_len);
        p += padded(code_len);
        __builtin___clear_cache((char *)code, (char *)code + code_len);
        if (mprotect(code, pages(code_len), PROT_READ | PROT_EXEC)) die("mprotect");
        const uint8_t *start = p;
        int32_t status[2];
        for (int at_end = 0; at_end < 2; at_end++) {
            uint8_t *data[64], *maps[64];
            size_t lens[64];
            uint64_t args[64];
            p = start;
            for (uint64_t i = 0; i < buffers; i++) {
                lens[i] = word(&p);
                data[i] = guarded(lens[i], at_end, &maps[i]);
                memcpy(data[i], p, lens[i]);
                p += padded(lens[i]);
            }
            for (uint64_t i = 0; i < slots; i++) {
                uint64_t is_address = word(&p), value = word(&p), offset = word(&p);
                args[i] = is_address ? (uint64_t)(uintptr_t)data[value] + offset : value;
            }
            phase = at_end ? "buffers before a guard page" : "buffers after a guard page";
            alarm(seconds);
            if (kind == 0) {
                status[at_end] = ((kernel_fn *)(code + entry))(args, begin, end);
            } else {
                const void *const *ins = (const void *const *)(args + 3);
                void *const *outs = (void *const *)(args + 3 + inputs);
                status[at_end] = ((invoke_fn *)(code + entry))((const uint8_t *)args[0], (uint8_t *)args[1], (uint8_t *)args[2], ins, outs,
                                                               kind == 2 ? &BACKWARDS : 0);
            }
            alarm(0);
            phase = "checks";
            for (uint64_t i = 0; i < buffers; i++)
                if (!untouched(data[i], lens[i], maps[i])) {
                    fprintf(stderr, "case %llu wrote beside buffer %llu\n", (unsigned long long)current, (unsigned long long)i);
                    return 3;
                }
            if (at_end) {
                int64_t s = status[0] == status[1] ? status[1] : -1000;
                fwrite(&s, 8, 1, out);
            }
            for (uint64_t i = 0; i < buffers; i++) {
                static const uint8_t zeros[8];
                if (at_end) {
                    fwrite(data[i], 1, lens[i], out);
                    fwrite(zeros, 1, padded(lens[i]) - lens[i], out);
                }
                munmap(maps[i], pages(lens[i] ? lens[i] : 1) + 2 * PAGE);
            }
        }
        munmap(code, pages(code_len));
    }
    if (fclose(out)) die("write");
    return 0;
}
