// A C++ program with a model inside: describes it, and classifies a digit drawn in text.
#include "digits.h"

#include <algorithm>
#include <cstdio>
#include <vector>

static const char *const drawing[8] = {"02ee6000", "009cf500", "0002f800", "0003fa00", "0000cd10", "00007f50", "0146ce10", "03eda200"};

int main() {
    static TFLC_ALIGNED(DIGITS_ARENA_BYTES) arena;
    const tflc_model *model = digits_model();
    const tflc_status usable = tflc_check(model);
    if (usable != TFLC_OK) {
        std::fprintf(stderr, "%s\n", tflc_status_text(usable));
        return 1;
    }
    const tflc_tensor *input = tflc_input(model, 0);
    std::vector<int8_t> image(input->bytes), scores(tflc_output(model, 0)->bytes);
    for (std::size_t i = 0; i < image.size(); i++) {
        const char ink = drawing[i / 32 / 4][i % 32 / 4];
        const float real = static_cast<float>(ink <= '9' ? ink - '0' : ink - 'a' + 10) / 15.0f;
        image[i] = static_cast<int8_t>(real / input->scale + 0.5f + static_cast<float>(input->zero_point));
    }
    const void *inputs[] = {image.data()};
    void *outputs[] = {scores.data()};
    const tflc_status status = tflc_invoke(model, &arena, sizeof arena, nullptr, 0, inputs, outputs, nullptr);
    if (status != TFLC_OK) {
        std::fprintf(stderr, "%s\n", tflc_status_text(status));
        return 1;
    }
    std::printf("%ld from %s\n", static_cast<long>(std::max_element(scores.begin(), scores.end()) - scores.begin()), tflc_name(model, input));
    return 0;
}
