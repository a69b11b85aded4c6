/* Several signatures, a custom operator and an output of open size, for a model `sum` that is linked in. Prints the line of the first promise not kept.
 *
 * "add more": total += twice(amount), where the program brings `twice`. "places": where a mask is set, and the total so far. */
#include "sum.h"
#include "expect.h"

#include <stdio.h>
#include <string.h>

static TFLC_ALIGNED(SUM_ARENA_BYTES) arena;
static TFLC_ALIGNED(SUM_STATE_BYTES) state;

tflc_status my_twice(const tflc_custom *call, void *const *arguments);

/* Twice its operand; negative values are refused. */
tflc_status my_twice(const tflc_custom *call, void *const *arguments) {
    const tflc_tensor *x = tflc_custom_tensor(call, 0), *y = tflc_custom_tensor(call, 1);
    const float *from = (const float *)arguments[0];
    float *to = (float *)arguments[1];
    const unsigned char *options = (const unsigned char *)tflc_custom_options(call);
    uint64_t i;
    if (call->abi_version != TFLC_ABI_VERSION || call->input_count != 1 || call->output_count != 1) return TFLC_WRONG_ABI;
    if (strcmp((const char *)call + call->name, "Twice") != 0 || call->options_bytes != 2 || options[1] != 3) return TFLC_INVALID_VALUE;
    if (x->rank != 1 || x->dtype != TFLC_FLOAT32 || tflc_custom_shape(call, x)[0] != 3 || y->bytes != 12) return TFLC_INVALID_VALUE;
    for (i = 0; i < tflc_custom_shape(call, x)[0]; i++) {
        if (from[i] < 0.0f) return TFLC_CUSTOM_OPERATOR;
        to[i] = (float)options[0] * from[i];
    }
    return TFLC_OK;
}

int main(void) {
    const tflc_model *model = sum_model();
    const tflc_model *add, *places;
    float amount[3] = {1.0f, 2.0f, 0.5f}, total[3], now[3];
    uint8_t mask[4] = {0, 1, 0, 1};
    int64_t at[4];
    const void *inputs[1];
    void *outputs[2];

    EXPECT(tflc_check(model) == TFLC_OK);
    EXPECT(model->signature_count == 2 && *(const char *)tflc_at(model, model->key) == 0);
    add = tflc_signature(model, SUM_ADD_MORE);
    places = tflc_signature(model, "places");
    EXPECT(add != NULL && places != NULL && tflc_signature(model, "place") == NULL && tflc_signature(model, "places2") == NULL);
    EXPECT(tflc_signature_at(model, 1) == places && tflc_check(places) == TFLC_OK && places->signature_count == 0);
    EXPECT(strcmp((const char *)tflc_at(places, places->key), SUM_PLACES) == 0);
    EXPECT(strcmp(tflc_name(add, tflc_input(add, 0)), "amount") == 0 && strcmp(tflc_name(model, tflc_input(model, 0)), "x") == 0);
    EXPECT(strcmp(tflc_name(places, tflc_output(places, SUM_PLACES_OUTPUT_AT)), "at") == 0);
    EXPECT(places->output_count == SUM_PLACES_OUTPUTS && places->arena_bytes == SUM_ARENA_BYTES && add->state_bytes == SUM_STATE_BYTES);

    inputs[0] = amount;
    outputs[0] = total;
    EXPECT(tflc_invoke(add, &arena, sizeof arena, &state, sizeof state, inputs, outputs, NULL) == TFLC_OK);
    EXPECT(tflc_invoke(model, &arena, sizeof arena, &state, sizeof state, inputs, outputs, NULL) == TFLC_OK);
    EXPECT(total[0] == 4.0f && total[1] == 8.0f && total[2] == 2.0f);
    amount[1] = -1.0f;
    EXPECT(tflc_invoke(add, &arena, sizeof arena, &state, sizeof state, inputs, outputs, NULL) == TFLC_CUSTOM_OPERATOR);

    inputs[0] = mask;
    outputs[SUM_PLACES_OUTPUT_AT] = at;
    outputs[SUM_PLACES_OUTPUT_NOW] = now;
    EXPECT(tflc_invoke(places, &arena, sizeof arena, &state, sizeof state, inputs, outputs, NULL) == TFLC_OK);
    EXPECT(tflc_output(places, SUM_PLACES_OUTPUT_AT)->axis == 0 && tflc_output(places, SUM_PLACES_OUTPUT_NOW)->axis == TFLC_NO_AXIS);
    EXPECT(tflc_dimension(places, tflc_output(places, SUM_PLACES_OUTPUT_AT), 0, &arena) == 2 && at[0] == 1 && at[1] == 3);
    EXPECT(now[0] == 4.0f && now[1] == 8.0f && now[2] == 2.0f);
    mask[0] = 1;
    EXPECT(tflc_invoke(places, &arena, sizeof arena, &state, sizeof state, inputs, outputs, NULL) == TFLC_OK);
    EXPECT(tflc_dimension(places, tflc_output(places, SUM_PLACES_OUTPUT_AT), 0, &arena) == 3 && at[0] == 0);
    printf("kept\n");
    return 0;
}
