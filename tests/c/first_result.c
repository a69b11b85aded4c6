/* How long a program waits for its first result: opens the shared library of a compiled model, runs it once on zeros, and prints
 * milliseconds of the process's time on processors, milliseconds of the clock, page faults, and milliseconds of the clock of a later run.
 *
 * first_result LIBRARY FUNCTION THREADS [large], where FUNCTION is NAME_model. Further threads are started within the time measured. The arena comes fresh
 * from the system: in large pages where the last argument says so. */
#define _GNU_SOURCE
#include "tflc.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
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

/* A pool that always spins: nothing else is to run. Each job is dealt out task by task. */
typedef struct pool {
    tflc_parallel parallel;
    unsigned threads;
    tflc_task task;
    void *context;
    uint64_t tasks;
    /* Number of the job, the next of its tasks, and the workers that are done with it. */
    atomic_uint job;
    atomic_ullong next;
    atomic_uint done;
} pool;

static void deal(pool *p) {
    uint64_t i;
    while ((i = atomic_fetch_add(&p->next, 1)) < p->tasks) p->task(p->context, i);
}

static void *work(void *argument) {
    pool *const p = argument;
    unsigned seen;
    for (seen = 0;; seen++) {
        unsigned spins = 0;
        while (atomic_load(&p->job) == seen) {
            if (++spins % 1024 == 0) sched_yield();
        }
        deal(p);
        atomic_fetch_add(&p->done, 1);
    }
    return NULL;
}

static void run(const tflc_parallel *self, tflc_task task, void *context, uint64_t n) {
    pool *const p = (pool *)self;
    p->task = task;
    p->context = context;
    p->tasks = n;
    atomic_store(&p->next, 0);
    atomic_store(&p->done, 0);
    atomic_fetch_add(&p->job, 1);
    deal(p);
    while (atomic_load(&p->done) != p->threads - 1) {
    }
}

int main(int argc, char **argv) {
    static pool workers = {.parallel = {run}};
    const double cpu = milliseconds(CLOCK_PROCESS_CPUTIME_ID), wall = milliseconds(CLOCK_MONOTONIC);
    const long before = faults();
    void *library = argc < 4 ? NULL : dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    void *symbol = library == NULL ? NULL : dlsym(library, argv[2]);
    const tflc_model *(*get)(void);
    const tflc_model *model;
    const void *inputs[MOST];
    void *outputs[MOST];
    const tflc_parallel *parallel = NULL;
    unsigned char *arena;
    double used, waited, later;
    long touched;
    uint32_t i;
    workers.threads = argc < 4 ? 1 : (unsigned)atoi(argv[3]);
    for (i = 1; i < workers.threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, &workers) != 0) return 4;
        parallel = &workers.parallel;
    }
    if (symbol == NULL) return 1;
    memcpy(&get, &symbol, sizeof get);
    model = get();
    if (tflc_check(model) != TFLC_OK || model->input_count > MOST || model->output_count > MOST) return 2;
    for (i = 0; i < model->input_count; i++) inputs[i] = fresh(tflc_input(model, i)->bytes);
    for (i = 0; i < model->output_count; i++) outputs[i] = fresh(tflc_output(model, i)->bytes);
    if (argc > 4) {
        const size_t page = (size_t)2 << 20;
        arena = (unsigned char *)fresh(model->arena_bytes + 2 * page);
        arena += page - (uintptr_t)arena % page;
        madvise(arena, ((size_t)model->arena_bytes + page - 1) / page * page, MADV_HUGEPAGE);
    } else {
        arena = (unsigned char *)fresh(model->arena_bytes);
    }
    if (tflc_invoke(model, arena, (size_t)model->arena_bytes, fresh(model->state_bytes), (size_t)model->state_bytes, inputs, outputs, parallel) != TFLC_OK) return 3;
    used = milliseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    waited = milliseconds(CLOCK_MONOTONIC) - wall;
    touched = faults() - before;
    /* The least of some: what processors need when all is in their caches. */
    later = 1e9;
    for (i = 0; i < 10; i++) {
        const double start = milliseconds(CLOCK_MONOTONIC);
        double took;
        tflc_invoke(model, arena, (size_t)model->arena_bytes, fresh(model->state_bytes), (size_t)model->state_bytes, inputs, outputs, parallel);
        took = milliseconds(CLOCK_MONOTONIC) - start;
        if (took < later) later = took;
    }
    printf("%.3f %.3f %ld %.3f\n", used, waited, touched, later);
    return 0;
}
