/* A promise of a test program: where it is not kept, prints the line, and `main` ends with 1. */
#ifndef EXPECT_H
#define EXPECT_H

#include <stdio.h>

#define EXPECT(condition)                                          \
    do {                                                           \
        if (!(condition)) {                                        \
            printf("line %d: %s\n", __LINE__, #condition);         \
            return 1;                                              \
        }                                                          \
    } while (0)

#endif
