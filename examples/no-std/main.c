/* Stands for the firmware: draws a three and has it classified. */
#include <stdio.h>

int classify(const unsigned char *pixels);

int main(void) {
    static const char *const drawing[8] = {"02ee6000", "009cf500", "0002f800", "0003fa00", "0000cd10", "00007f50", "0146ce10", "03eda200"};
    static unsigned char pixels[32 * 32];
    int y, x, digit;
    for (y = 0; y < 32; y++)
        for (x = 0; x < 32; x++) {
            const char ink = drawing[y / 4][x / 4];
            pixels[y * 32 + x] = (unsigned char)(17 * (ink <= '9' ? ink - '0' : ink - 'a' + 10));
        }
    digit = classify(pixels);
    printf("%d\n", digit);
    return digit == 3 ? 0 : 1;
}
