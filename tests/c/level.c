/* Prints the CPU level that a model with several chose: MODEL is its function. */
#include "tflc.h"

#include <stdio.h>

const tflc_model *MODEL(void);

int main(void) {
    const tflc_model *model = MODEL();
    if (tflc_check(model) != TFLC_OK) {
        printf("none\n");
        return 0;
    }
    printf("%s\n", (const char *)tflc_at(model, model->cpu));
    return 0;
}

#ifdef FEATURES
/* What a program without an operating system says of its processor. */
uint64_t tflc_cpu_features(void) { return FEATURES; }
#endif
