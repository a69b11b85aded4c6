/* Runs a compiled model once, by its C interface.
 *
 * runner INPUTS OUTPUTS TASKS          where the model is linked in: MODEL is its function
 * runner INPUTS OUTPUTS TASKS FILE NAME   where it is a shared library, with TFLC_DLOPEN
 *
 * INPUTS and OUTPUTS are files with all buffers one after the other, split weights behind the inputs. TASKS is 0 for a run without a
 * pool, else the pool runs tasks last to first. The exit status is that of the run, 100 and above for what the program itself cannot do. */
#include "tflc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef TFLC_DLOPEN
#include <dlfcn.h>
#else
const tflc_model *MODEL(void);
#endif

enum { MOST = 256 };

static void backwards(const tflc_parallel *self, tflc_task task, void *context, uint64_t n) {
    (void)self;
    while (n > 0) task(context, --n);
}

static void *aligned(uint64_t bytes) {
    unsigned char *p = (unsigned char *)malloc((size_t)bytes + 2 * TFLC_ALIGNMENT);
    if (p == NULL) exit(101);
    memset(p, 0, (size_t)bytes + 2 * TFLC_ALIGNMENT);
    return p + (TFLC_ALIGNMENT - (uintptr_t)p % TFLC_ALIGNMENT);
}

int main(int argc, char **argv) {
    const void *inputs[MOST];
    void *outputs[MOST];
    const tflc_model *model;
    const tflc_parallel pool = {backwards};
    tflc_status status;
    uint32_t i, count;
    FILE *file;
    if (argc < 4) return 100;
#ifdef TFLC_DLOPEN
    {
        const tflc_model *(*get)(void);
        void *library = argc == 6 ? dlopen(argv[4], RTLD_NOW | RTLD_LOCAL) : NULL;
        void *symbol = library == NULL ? NULL : dlsym(library, argv[5]);
        if (symbol == NULL) {
            fprintf(stderr, "%s\n", dlerror());
            return 102;
        }
        memcpy(&get, &symbol, sizeof get);
        model = get();
    }
#else
    model = MODEL();
#endif
    status = tflc_check(model);
    if (status != TFLC_OK) {
        fprintf(stderr, "%s\n", tflc_status_text(status));
        return status;
    }
    count = model->input_count + (model->flags & TFLC_SPLIT_WEIGHTS ? 1 : 0);
    if (count > MOST || model->output_count > MOST) return 103;
    file = fopen(argv[1], "rb");
    if (file == NULL) return 104;
    for (i = 0; i < count; i++) {
        uint64_t bytes = i < model->input_count ? tflc_input(model, i)->bytes : model->weights_bytes;
        void *buffer = aligned(bytes);
        if (fread(buffer, 1, (size_t)bytes, file) != bytes) return 105;
        inputs[i] = buffer;
    }
    if (fgetc(file) != EOF) return 106;
    fclose(file);
    for (i = 0; i < model->output_count; i++) outputs[i] = aligned(tflc_output(model, i)->bytes);
    status = tflc_invoke(model, aligned(model->arena_bytes), (size_t)model->arena_bytes, aligned(model->state_bytes),
                         (size_t)model->state_bytes, inputs, outputs, strcmp(argv[3], "0") == 0 ? NULL : &pool);
    if (status != TFLC_OK) {
        fprintf(stderr, "%s\n", tflc_status_text(status));
        return status;
    }
    file = fopen(argv[2], "wb");
    if (file == NULL) return 107;
    for (i = 0; i < model->output_count; i++) {
        uint64_t bytes = tflc_output(model, i)->bytes;
        if (fwrite(outputs[i], 1, (size_t)bytes, file) != bytes) return 108;
    }
    return fclose(file) == 0 ? 0 : 109;
}
