/* plan.h: a plan in memory: the wire form, read and checked.
 *
 * The wire form (Python writes it, minidock/runtime/plan.py):
 *
 *     "minidock-plan 1\n"
 *     then one record a step, to the end of the file:
 *         u32le number of fields
 *         each field: u32le length, that many bytes, one NUL that is not counted
 *
 * Field 0 is the kind; it becomes `kind` here, and field[0] is the first argument. The NUL behind every
 * field makes a field usable as a C string in place: nothing is copied out of the mapped plan.
 *
 * Read next: steps.def (the kinds), plan.c (the checks), walk.c (the use). */
#ifndef MINIDOCK_PLAN_H
#define MINIDOCK_PLAN_H

#include <stddef.h>
#include <stdint.h>

#define PLAN_MAGIC      "minidock-plan 1\n"
#define PLAN_MAX_STEPS  4096
#define PLAN_MAX_SIZE   (16U << 20)
#define PLAN_MAX_FIELDS (1U << 20)

struct walk;
struct plan_step;

enum step_side { MONITOR, CHILD, EITHER, SPLIT };

/* A line of steps.def. run() returns 0 or -errno, with the reason left by step_fail(). */
struct step_kind {
    const char *name;
    uint32_t min_fields, max_fields;
    enum step_side side;
    uint32_t binary;
    int (*run)(struct walk *w, const struct plan_step *s);
};

struct plan_field {
    const char *text; /* text[size] is a NUL; a text field holds no other */
    uint32_t size;
};

struct plan_step {
    const struct step_kind *kind;
    uint32_t nfields;
    const struct plan_field *field;
};

struct plan {
    const char *bytes;
    size_t size;
    uint32_t nsteps;
    uint32_t split; /* index of the clone3 step: before it the monitor walks, after it the child */
    struct plan_step *steps;
    struct plan_field *fields;
};

/* Where and why a plan was refused. */
struct plan_error {
    uint32_t step;
    const char *reason;
};

/* Checks `bytes` and indexes them; they must stay in place while the plan is used.
 * 0, or -EINVAL or -ENOMEM with *error filled (nothing is held then). */
int plan_parse(struct plan *plan, const char *bytes, size_t size, struct plan_error *error);

/* Frees the index, not the bytes. */
void plan_free(struct plan *plan);

#endif
