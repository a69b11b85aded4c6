/* A C program with a model inside: classifies a digit drawn in text.
 *
 *     tflc digits_int8.tflite --emit staticlib,header --name digits -o build
 *     cc -std=c99 -Wall -Ibuild main.c build/libdigits.a -o build/digits
 */
#include "digits.h"

#include <stdio.h>

static const char *const drawing[8] = {"02ee6000", "009cf500", "0002f800", "0003fa00", "0000cd10", "00007f50", "0146ce10", "03eda200"};

int main(void) {
    static TFLC_ALIGNED(DIGITS_ARENA_BYTES) arena;
    int8_t image[DIGITS_INPUT_0_ELEMENTS], scores[DIGITS_OUTPUT_0_ELEMENTS];
    const void *inputs[DIGITS_INPUTS];
    void *outputs[DIGITS_OUTPUTS];
    tflc_status status;
    unsigned i, best = 0;
    for (i = 0; i < DIGITS_INPUT_0_ELEMENTS; i++) {
        const char ink = drawing[i / 32 / 4][i % 32 / 4];
        const float real = (float)(ink <= '9' ? ink - '0' : ink - 'a' + 10) / 15.0f;
        image[i] = (int8_t)(real / DIGITS_INPUT_0_SCALE + 0.5f + DIGITS_INPUT_0_ZERO_POINT);
    }
    inputs[DIGITS_INPUT_SERVING_DEFAULT_IMAGE_0] = image;
    outputs[0] = scores;
    status = tflc_invoke(digits_model(), &arena, sizeof arena, NULL, 0, inputs, outputs, NULL);
    if (status != TFLC_OK) {
        fprintf(stderr, "%s\n", tflc_status_text(status));
        return 1;
    }
    for (i = 1; i < DIGITS_OUTPUT_0_ELEMENTS; i++)
        if (scores[i] > scores[best]) best = i;
    printf("%u %.1f %%\n", best, 100.0 * DIGITS_OUTPUT_0_SCALE * (scores[best] - DIGITS_OUTPUT_0_ZERO_POINT));
    return 0;
}
