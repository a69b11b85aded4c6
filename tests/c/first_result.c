/* How long a program waits for its first result: opens the shared library of a compiled model, runs it once on zeros, and prints
 * milliseconds of this thread's processor time, milliseconds of the clock, page faults, and milliseconds of processor time of a later run.
 *
 * first_result LIBRARY FUNCTION, where FUNCTION is NAME_model. The arena comes fresh from the system: in large pages where a third argument says so. */
#define _GNU_SOURCE
#include "tflc.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

enum { MOST = 64 };

static double milliseconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static long faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

static void *fresh(uint64_t bytes) {
    return mmap(NULL, (size_t)bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

int main(int argc, char **argv) {
    const double cpu = milliseconds(CLOCK_THREAD_CPUTIME_ID), wall = milliseconds(CLOCK_MONOTONIC);
    const long before = faults();
    void *library = argc < 3 ? NULL : dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    void *symbol = library == NULL ? NULL : dlsym(library, argv[2]);
    const tflc_model *(*get)(void);
    const tflc_model *model;
    const void *inputs[MOST];
    void *outputs[MOST];
    unsigned char *arena;
    double used, waited, later;
    long touched;
    uint32_t i;
    if (symbol == NULL) return 1;
    memcpy(&get, &symbol, sizeof get);
    model = get();
    if (tflc_check(model) != TFLC_OK || model->input_count > MOST || model->output_count > MOST) return 2;
    for (i = 0; i < model->input_count; i++) inputs[i] = fresh(tflc_input(model, i)->bytes);
    for (i = 0; i < model->output_count; i++) outputs[i] = fresh(tflc_output(model, i)->bytes);
    if (argc > 3) {
        const size_t page = (size_t)2 << 20;
        arena = (unsigned char *)fresh(model->arena_bytes + 2 * page);
        arena += page - (uintptr_t)arena % page;
        madvise(arena, ((size_t)model->arena_bytes + page - 1) / page * page, MADV_HUGEPAGE);
    } else {
        arena = (unsigned char *)fresh(model->arena_bytes);
    }
    if (tflc_invoke(model, arena, (size_t)model->arena_bytes, fresh(model->state_bytes), (size_t)model->state_bytes, inputs, outputs, NULL) != TFLC_OK) return 3;
    used = milliseconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
    waited = milliseconds(CLOCK_MONOTONIC) - wall;
    touched = faults() - before;
    /* The least of some: what the processor needs when all is in its caches. */
    later = 1e9;
    for (i = 0; i < 10; i++) {
        const double start = milliseconds(CLOCK_THREAD_CPUTIME_ID);
        double took;
        tflc_invoke(model, arena, (size_t)model->arena_bytes, fresh(model->state_bytes), (size_t)model->state_bytes, inputs, outputs, NULL);
        took = milliseconds(CLOCK_THREAD_CPUTIME_ID) - start;
        if (took < later) later = took;
    }
    printf("%.3f %.3f %ld %.3f\n", used, waited, touched, later);
    return 0;
}
