/* What tflc.h promises, for a model `digits` that is linked in. It is C99 and C++11. Prints the line of the first promise not kept. */
#include "digits.h"
#include "expect.h"

#include <stdio.h>
#include <string.h>

static TFLC_ALIGNED(DIGITS_ARENA_BYTES + 64) arena;
static int8_t image[DIGITS_INPUT_0_ELEMENTS], first[DIGITS_OUTPUT_0_ELEMENTS], second[DIGITS_OUTPUT_0_ELEMENTS];
static unsigned tasks;

static void forwards(const tflc_parallel *self, tflc_task task, void *context, uint64_t n) {
    uint64_t i;
    (void)self;
    for (i = 0; i < n; i++) task(context, i);
    tasks += (unsigned)n;
}

int main(void) {
    const tflc_model *model = digits_model();
    const void *inputs[DIGITS_INPUTS + 1] = {NULL};
    void *outputs[DIGITS_OUTPUTS + 1] = {NULL};
    const tflc_parallel pool = {forwards};
    tflc_model other;
    const size_t size = DIGITS_ARENA_BYTES;
    unsigned i;

    EXPECT(tflc_check(model) == TFLC_OK);
    EXPECT(digits_model() == model);
    EXPECT(model->arena_bytes == DIGITS_ARENA_BYTES && model->state_bytes == DIGITS_STATE_BYTES);
    EXPECT(model->alignment == TFLC_ALIGNMENT && (model->flags & TFLC_SPLIT_WEIGHTS) == 0);
    EXPECT(strcmp((const char *)tflc_at(model, model->name), "digits") == 0);
    EXPECT(model->input_count == DIGITS_INPUTS && model->output_count == DIGITS_OUTPUTS);
    EXPECT(strcmp(tflc_name(model, tflc_input(model, 0)), "serving_default_image:0") == 0);
    EXPECT(tflc_input(model, 0)->dtype == TFLC_INT8 && tflc_input(model, 0)->bytes == DIGITS_INPUT_0_BYTES);
    EXPECT(tflc_input(model, 0)->rank == 4 && tflc_shape(model, tflc_input(model, 0))[1] == 32);
    EXPECT(tflc_output(model, 0)->scale == DIGITS_OUTPUT_0_SCALE && tflc_output(model, 0)->zero_point == DIGITS_OUTPUT_0_ZERO_POINT);

    for (i = 0; i < DIGITS_INPUT_0_ELEMENTS; i++) image[i] = (int8_t)(i * 37);
    inputs[0] = image;
    outputs[0] = first;
    EXPECT(tflc_invoke(model, &arena, size, NULL, 0, inputs, outputs, NULL) == TFLC_OK);
    outputs[0] = second;
    EXPECT(tflc_invoke(model, &arena, size, NULL, 0, inputs, outputs, &pool) == TFLC_OK);
    EXPECT(memcmp(first, second, sizeof first) == 0);

    /* What callers get wrong. */
    EXPECT(tflc_invoke(NULL, &arena, size, NULL, 0, inputs, outputs, NULL) == TFLC_UNSUPPORTED_CPU);
    memcpy(&other, model, sizeof other);
    other.abi_version = TFLC_ABI_VERSION + 1;
    EXPECT(tflc_invoke(&other, &arena, size, NULL, 0, inputs, outputs, NULL) == TFLC_WRONG_ABI);
    other.abi_version = TFLC_ABI_VERSION;
    other.magic = 0;
    EXPECT(tflc_check(&other) == TFLC_WRONG_ABI);
    memcpy(&other, model, sizeof other);
    other.state_bytes = 1;
    EXPECT(tflc_invoke(&other, &arena, size, NULL, 0, inputs, outputs, NULL) == TFLC_STATE_TOO_SMALL);
    EXPECT(tflc_invoke(model, &arena, size - 1, NULL, 0, inputs, outputs, NULL) == TFLC_ARENA_TOO_SMALL);
    EXPECT(tflc_invoke(model, arena.data + 16, size, NULL, 0, inputs, outputs, NULL) == TFLC_INVALID_ARGUMENT);
    EXPECT(tflc_invoke(model, NULL, size, NULL, 0, inputs, outputs, NULL) == TFLC_INVALID_ARGUMENT);
    EXPECT(tflc_invoke(model, &arena, size, NULL, 0, NULL, outputs, NULL) == TFLC_INVALID_ARGUMENT);
    EXPECT(tflc_invoke(model, &arena, size, NULL, 0, inputs, NULL, NULL) == TFLC_INVALID_ARGUMENT);
    inputs[0] = NULL;
    EXPECT(tflc_invoke(model, &arena, size, NULL, 0, inputs, outputs, NULL) == TFLC_INVALID_ARGUMENT);
    inputs[0] = image;
    outputs[0] = NULL;
    EXPECT(tflc_invoke(model, &arena, size, NULL, 0, inputs, outputs, NULL) == TFLC_INVALID_ARGUMENT);
    EXPECT(strcmp(tflc_status_text(TFLC_OK), "success") == 0);

    for (i = 0; i < DIGITS_OUTPUT_0_ELEMENTS; i++) printf("%d ", first[i]);
    printf("\n");
    return 0;
}
