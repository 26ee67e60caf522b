/* The table of format.def as C: EXECUTOR_<NUMBER>, struct executor_<record>. */
#ifndef EXECUTOR_FORMAT_H
#define EXECUTOR_FORMAT_H

#include <stdint.h>

enum executor_number {
#define EXECUTOR_NUMBER(name, value) EXECUTOR_##name = value,
#include "executor/format.def"
};

typedef uint8_t executor_u8;
typedef uint16_t executor_u16;
typedef uint32_t executor_u32;
typedef int32_t executor_i32;
typedef uint64_t executor_u64;

#define EXECUTOR_RECORD(name) struct executor_##name {
#define EXECUTOR_FIELD(type, name) executor_##type name;
#define EXECUTOR_END(name)                                                                                             \
    }                                                                                                                  \
    __attribute__((packed));
#include "executor/format.def"

#endif
