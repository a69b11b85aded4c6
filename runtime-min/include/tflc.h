/* tflc.h: how C and C++ programs run models that tflc has compiled. ABI version 2.
 *
 * A compiled model exports one function, NAME_model(). It gives the address of a read-only descriptor, or NULL where the processor
 * lacks what the code was compiled for. Everything that a run needs comes from the caller:
 *
 *     const tflc_model *model = digits_model();
 *     static TFLC_ALIGNED(DIGITS_ARENA_BYTES) arena;                   (or memory of your own, aligned to 64 bytes)
 *     const void *inputs[] = { image };
 *     void *outputs[] = { scores };
 *     tflc_status status = tflc_invoke(model, &arena, sizeof arena, NULL, 0, inputs, outputs, NULL);
 *
 * The code allocates nothing, calls no library and has no writable data. It is re-entrant: several threads may run one model at the
 * same time, each with an arena, a state and outputs of its own. Any C99 or C++11 compiler takes this header; it needs
 * <stddef.h> and <stdint.h> only.
 *
 * References inside a descriptor are distances in bytes from its own start, so that it needs no relocation: use the functions below.
 */
#ifndef TFLC_H
#define TFLC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of everything in this file. A descriptor of another version is refused. */
#define TFLC_ABI_VERSION 3u
/* First field of every descriptor: "tflc" in memory. */
#define TFLC_MAGIC 0x636C6674u
/* Alignment of arena, state and split weights in bytes. */
#define TFLC_ALIGNMENT 64u

/* What a run or a check gives. */
typedef int32_t tflc_status;
enum {
    TFLC_OK = 0,
    TFLC_INVALID_ARGUMENT = 1,   /* an argument is null, or arena, state or weights are not aligned to TFLC_ALIGNMENT */
    TFLC_INDEX_OUT_OF_RANGE = 2, /* an index in an input lies outside the tensor it points into, or a tensor is longer than its bound */
    TFLC_ITERATION_LIMIT = 3,    /* a loop of the model ran longer than its limit */
    TFLC_INVALID_VALUE = 4,      /* a value makes no sense for its operator, a divisor of zero for example */
    TFLC_CUSTOM_OPERATOR = 5,    /* a custom operator of the caller failed */
    TFLC_WRONG_ABI = 16,         /* no descriptor, or one of another ABI version than this header */
    TFLC_UNSUPPORTED_CPU = 17,   /* NAME_model() gave NULL: the processor lacks what the code was compiled for */
    TFLC_ARENA_TOO_SMALL = 18,   /* see tflc_model.arena_bytes */
    TFLC_STATE_TOO_SMALL = 19    /* see tflc_model.state_bytes */
};

/* Element types. Elements are little-endian and dense; those below eight bits are packed, the low bits first. */
typedef uint32_t tflc_dtype;
enum {
    TFLC_FLOAT32 = 0,
    TFLC_FLOAT16 = 1,
    TFLC_INT32 = 2,
    TFLC_UINT8 = 3,
    TFLC_INT64 = 4,
    TFLC_BOOL = 6, /* one byte, 0 or 1 */
    TFLC_INT16 = 7,
    TFLC_COMPLEX64 = 8,
    TFLC_INT8 = 9,
    TFLC_FLOAT64 = 10,
    TFLC_COMPLEX128 = 11,
    TFLC_UINT64 = 12,
    TFLC_UINT32 = 15,
    TFLC_UINT16 = 16,
    TFLC_INT4 = 17,
    TFLC_BFLOAT16 = 18,
    TFLC_INT2 = 19,
    TFLC_UINT4 = 20
};

/* An input or output. A real value is scale * (stored - zero_point); scale is 0 where a tensor is not quantised by one scale. */
typedef struct tflc_tensor {
    uint64_t bytes;     /* size of a value; where it is known only at run time, the most */
    uint64_t length;    /* where it is known only at run time: see tflc_dimension() */
    uint32_t name;      /* distance from the descriptor: see tflc_name() */
    tflc_dtype dtype;
    uint32_t rank;
    uint32_t shape;     /* distance from the descriptor: see tflc_shape() */
    float scale;
    int32_t zero_point;
    uint32_t axis;      /* the first axis whose length is known only at run time; else TFLC_NO_AXIS */
    uint32_t reserved;  /* 0 */
} tflc_tensor;

/* tflc_tensor.axis where all sizes are known before a run. */
#define TFLC_NO_AXIS 0xFFFFFFFFu

/* Flags of a descriptor. */
enum {
    TFLC_SPLIT_WEIGHTS = 1 /* the weights are in a file of their own; see tflc_model.weights_bytes */
};

/* Descriptor of a compiled model. */
typedef struct tflc_model {
    uint32_t magic;            /* TFLC_MAGIC */
    uint32_t abi_version;      /* TFLC_ABI_VERSION */
    uint32_t descriptor_bytes; /* size of this structure with everything that it refers to but the code */
    int32_t invoke;            /* distance to the code: see tflc_invoke() */
    uint64_t arena_bytes;      /* scratch memory of one run; its contents matter to nobody between runs */
    uint64_t state_bytes;      /* variables, which persist between runs; all zero at first, and to reset */
    uint64_t weights_bytes;    /* size of the packed weights. Where they are split, a run takes their address as one more
                                  input behind the others, aligned to TFLC_ALIGNMENT; a mapped file is */
    uint32_t weights_crc32;    /* CRC-32 (IEEE 802.3) of the weights */
    uint32_t flags;
    uint32_t alignment;        /* of arena, state and split weights: TFLC_ALIGNMENT */
    uint32_t input_count;
    uint32_t inputs;           /* distance to tflc_tensor[input_count]: see tflc_input() */
    uint32_t output_count;
    uint32_t outputs;          /* distance to tflc_tensor[output_count]: see tflc_output() */
    uint32_t name;             /* distance to the model's name, a string */
    uint32_t cpu;              /* distance to the name of the CPU level, a string */
    uint32_t key;              /* distance to the key of the signature that this describes, a string; empty for the model itself */
    uint32_t signature_count;
    uint32_t signatures;       /* distance to tflc_signature_entry[signature_count]: see tflc_signature() */
} tflc_model;

/* A signature of a model. */
typedef struct tflc_signature_entry {
    uint32_t key;  /* distance from the descriptor to the key, a string */
    int32_t model; /* distance from the descriptor to the signature's own */
} tflc_signature_entry;

/* A caller's thread pool. `run` calls task(context, i) once for each i below n, in any order and from any threads, and
 * returns when all calls have. Results do not depend on it. */
typedef void (*tflc_task)(void *context, uint64_t index);
typedef struct tflc_parallel {
    void (*run)(const struct tflc_parallel *self, tflc_task task, void *context, uint64_t n);
} tflc_parallel;

/* The code behind a descriptor. It checks pointers and alignments, but cannot know the sizes of buffers: tflc_invoke() does. */
typedef tflc_status (*tflc_invoke_function)(void *arena, void *state, const void *const *inputs, void *const *outputs,
                                            const tflc_parallel *parallel);

/* Processor features, where neither the processor nor the system can be asked: a program that links a model with several CPU levels
 * for AArch64 or RISC-V without Linux or Android defines this function. AArch64: bit 0, dot products (dotprod); bit 1, matrix products
 * of bytes (i8mm); bit 2, arithmetic on halves (fp16), which only models that were compiled with --precision f16 or for aarch64+fp16
 * ask for. RISC-V: bit 0, vectors of at least 128 bits (V). */
uint64_t tflc_cpu_features(void);

/* What a function that computes a custom operator of the model is told about the call. */
typedef struct tflc_custom {
    uint32_t abi_version;
    uint32_t input_count;
    uint32_t output_count;
    uint32_t tensors; /* distance to tflc_tensor[input_count + output_count]: see tflc_custom_tensor() */
    uint32_t name;    /* distance to the operator's name, a string */
    uint32_t options; /* distance to its options, as the model file has them */
    uint32_t options_bytes;
    uint32_t reserved; /* 0 */
} tflc_custom;

/* A function of the program's that computes a custom operator. `arguments` holds the addresses of the operands, then of the results, whose elements it
 * has to write. It returns TFLC_OK, or the status that ends the run: TFLC_CUSTOM_OPERATOR as a rule. It runs on the thread that called tflc_invoke(). */
typedef tflc_status (*tflc_custom_function)(const tflc_custom *call, void *const *arguments);

/* Operand `index`, or result `index - call->input_count`. Its name is empty. */
static inline const tflc_tensor *tflc_custom_tensor(const tflc_custom *call, uint32_t index) {
    return (const tflc_tensor *)((const unsigned char *)call + call->tensors) + index;
}

/* Dimensions of an operand or result. */
static inline const uint64_t *tflc_custom_shape(const tflc_custom *call, const tflc_tensor *tensor) {
    return (const uint64_t *)((const unsigned char *)call + tensor->shape);
}

/* The operator's options, call->options_bytes of them. */
static inline const void *tflc_custom_options(const tflc_custom *call) { return (const unsigned char *)call + call->options; }

/* Memory of at least `bytes` bytes with the alignment that arenas and states need. */
#if defined(__cplusplus)
#define TFLC_ALIGNED(bytes) struct alignas(TFLC_ALIGNMENT) { unsigned char data[(bytes) > 0 ? (bytes) : 1]; }
#elif defined(_MSC_VER)
#define TFLC_ALIGNED(bytes) struct __declspec(align(64)) { unsigned char data[(bytes) > 0 ? (bytes) : 1]; }
#else
#define TFLC_ALIGNED(bytes) struct { unsigned char data[(bytes) > 0 ? (bytes) : 1] __attribute__((aligned(64))); }
#endif

/* TFLC_OK where `model` is a descriptor that this header describes. */
static inline tflc_status tflc_check(const tflc_model *model) {
    if (model == NULL) return TFLC_UNSUPPORTED_CPU;
    if (model->magic != TFLC_MAGIC || model->abi_version != TFLC_ABI_VERSION) return TFLC_WRONG_ABI;
    return TFLC_OK;
}

/* What lies `distance` bytes from the start of a descriptor. */
static inline const void *tflc_at(const tflc_model *model, uint32_t distance) { return (const unsigned char *)model + distance; }

/* Input `index`, below model->input_count. */
static inline const tflc_tensor *tflc_input(const tflc_model *model, uint32_t index) {
    return (const tflc_tensor *)tflc_at(model, model->inputs) + index;
}

/* Output `index`, below model->output_count. */
static inline const tflc_tensor *tflc_output(const tflc_model *model, uint32_t index) {
    return (const tflc_tensor *)tflc_at(model, model->outputs) + index;
}

/* Name of an input or output, a string. */
static inline const char *tflc_name(const tflc_model *model, const tflc_tensor *tensor) {
    return (const char *)tflc_at(model, tensor->name);
}

/* Its dimensions, tensor->rank of them. */
static inline const uint64_t *tflc_shape(const tflc_model *model, const tflc_tensor *tensor) {
    return (const uint64_t *)tflc_at(model, tensor->shape);
}

/* Signature `index`, below model->signature_count: a descriptor with the inputs and outputs of the signature by its names. Signatures share
 * code, weights, the size of the arena, and the state. */
static inline const tflc_model *tflc_signature_at(const tflc_model *model, uint32_t index) {
    const tflc_signature_entry *entry = (const tflc_signature_entry *)tflc_at(model, model->signatures) + index;
    return (const tflc_model *)((uintptr_t)model + (uintptr_t)(intptr_t)entry->model);
}

/* The signature with a key, or NULL. */
static inline const tflc_model *tflc_signature(const tflc_model *model, const char *key) {
    uint32_t i;
    for (i = 0; i < model->signature_count; i++) {
        const tflc_model *signature = tflc_signature_at(model, i);
        const char *a = (const char *)tflc_at(signature, signature->key);
        const char *b = key;
        while (*a != 0 && *a == *b) {
            a++;
            b++;
        }
        if (*a == *b) return signature;
    }
    return NULL;
}

/* The length of an axis of an output after a run that left `arena`. Its elements are the first ones of the buffer, without gaps. */
static inline uint64_t tflc_dimension(const tflc_model *model, const tflc_tensor *tensor, uint32_t axis, const void *arena) {
    if (tensor->axis == TFLC_NO_AXIS || axis < tensor->axis) return tflc_shape(model, tensor)[axis];
    return ((const uint64_t *)(const void *)((const unsigned char *)arena + tensor->length))[axis - tensor->axis];
}

/* The code, to be called without the checks of tflc_invoke(). */
static inline tflc_invoke_function tflc_code(const tflc_model *model) {
    return (tflc_invoke_function)((uintptr_t)model + (uintptr_t)(intptr_t)model->invoke);
}

/* Runs a model: computes all outputs from the inputs.
 *
 * arena, state: at least model->arena_bytes and model->state_bytes bytes, aligned to TFLC_ALIGNMENT; may be NULL where the model needs
 * none. inputs, outputs: the addresses of as many buffers as the model has inputs and outputs, each of the tensor's size; no output
 * overlaps another buffer. parallel: NULL to run in the calling thread alone.
 * Where the result is not TFLC_OK, outputs and state hold anything. */
static inline tflc_status tflc_invoke(const tflc_model *model, void *arena, size_t arena_bytes, void *state, size_t state_bytes,
                                      const void *const *inputs, void *const *outputs, const tflc_parallel *parallel) {
    tflc_status status = tflc_check(model);
    if (status != TFLC_OK) return status;
    if (arena_bytes < model->arena_bytes) return TFLC_ARENA_TOO_SMALL;
    if (state_bytes < model->state_bytes) return TFLC_STATE_TOO_SMALL;
    return tflc_code(model)(arena, state, inputs, outputs, parallel);
}

/* A status as a sentence without a full stop. */
static inline const char *tflc_status_text(tflc_status status) {
    switch (status) {
    case TFLC_OK: return "success";
    case TFLC_INVALID_ARGUMENT: return "an argument is null or misaligned";
    case TFLC_INDEX_OUT_OF_RANGE: return "an index in a tensor lies outside the tensor it points into, or a tensor is longer than its bound; check the model's inputs";
    case TFLC_ITERATION_LIMIT: return "a loop of the model ran longer than its limit";
    case TFLC_INVALID_VALUE: return "a value makes no sense for its operator (a divisor of zero, say)";
    case TFLC_CUSTOM_OPERATOR: return "a custom operator of the caller failed";
    case TFLC_WRONG_ABI: return "this is no descriptor of a model, or one of another ABI version";
    case TFLC_UNSUPPORTED_CPU: return "the processor lacks what the model was compiled for";
    case TFLC_ARENA_TOO_SMALL: return "the arena is smaller than the model needs";
    case TFLC_STATE_TOO_SMALL: return "the state is smaller than the model needs";
    default: return "unknown status";
    }
}

#ifdef __cplusplus
}
#endif
#endif
