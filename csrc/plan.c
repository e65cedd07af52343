/* plan.c: reads the wire form of a plan and refuses all that is not exactly it.
 *
 * The plan comes from our own daemon, yet it is checked as if it came from a stranger: a mistake in
 * the encoder must show as "step 7: unknown kind", not as a mount at a place nobody meant. Everything
 * that can be known without the kernel is checked here, before the first step is done: a plan is
 * refused whole or begun.
 *
 * Two passes over the bytes: the first checks the framing and counts, so that the index is allocated
 * once at its exact size; the second fills the index and checks each step against steps.def.
 *
 * Read next: plan.h (the form), walk.c (who calls this), tests/unit/test_plan_wire_c.py (the fuzzing). */
#include "plan.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "step.h"

/* steps.def, as data. plan.h says what the columns are. */
static const struct step_kind kinds[] = {
#define STEP(kind, min, max, side, binary) {#kind, min, max, side, binary, step_##kind},
#include "steps.def"
#undef STEP
};

/* The part of the plan not read yet. */
struct cursor {
    const char *at, *end;
};

/* Byte by byte: records are not aligned, and a plan is little-endian on every machine. */
static bool take_u32(struct cursor *c, uint32_t *value)
{
    if (c->end - c->at < 4)
        return false;
    const unsigned char *b = (const unsigned char *)c->at;
    *value = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    c->at += 4;
    return true;
}

/* The length is compared with what is left and never added to a pointer first: 0xffffffff must not wrap around. The
 * NUL is not counted, so a field of n bytes needs n + 1. */
static bool take_field(struct cursor *c, struct plan_field *field)
{
    uint32_t size;
    if (!take_u32(c, &size) || (size_t)(c->end - c->at) <= size || c->at[size] != '\0')
        return false;
    field->text = c->at;
    field->size = size;
    c->at += (size_t)size + 1;
    return true;
}

/* First pass: the framing alone. Each field takes at least 5 bytes, so the counts are bounded by the size. */
static const char *count_records(struct cursor c, uint32_t *nsteps, size_t *nfields)
{
    struct plan_field field;
    for (*nsteps = 0, *nfields = 0; c.at < c.end; (*nsteps)++) {
        uint32_t count;
        if (*nsteps == PLAN_MAX_STEPS)
            return "too many steps";
        if (!take_u32(&c, &count) || count == 0 || count > PLAN_MAX_FIELDS)
            return "malformed record: bad field count";
        for (uint32_t i = 0; i < count; i++) {
            if (!take_field(&c, &field))
                return "malformed record: bad field length";
        }
        *nfields += count;
    }
    return *nsteps == 0 ? "the plan has no steps" : NULL;
}

/* By length and bytes, not by strcmp(3): "stdio\0x" is no kind. Some forty comparisons a step are nothing beside
 * one system call. */
static const struct step_kind *find_kind(const struct plan_field *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        if (strlen(kinds[i].name) == name->size && memcmp(kinds[i].name, name->text, name->size) == 0)
            return &kinds[i];
    }
    return NULL;
}

/* A NUL within a text field would cut it short for the kernel: what was checked and shown ("/a\0b") would not be
 * what is mounted ("/a"). Only programs for seccomp and eBPF may hold any bytes. */
static const char *check_fields(const struct plan_step *s)
{
    if (s->nfields < s->kind->min_fields || s->nfields > s->kind->max_fields)
        return "wrong number of fields";
    for (uint32_t i = 0; i < s->nfields; i++) {
        if (i + 1 != s->kind->binary && strlen(s->field[i].text) != s->field[i].size)
            return "a text field holds a NUL";
    }
    return NULL;
}

/* Second pass: fills the index. The framing was checked, so taking can't fail. */
static const char *index_steps(struct plan *plan, struct cursor c, uint32_t *at)
{
    struct plan_field *next = plan->fields;
    for (*at = 0; *at < plan->nsteps; (*at)++) {
        struct plan_step *s = &plan->steps[*at];
        uint32_t count = 0;
        take_u32(&c, &count);
        for (uint32_t i = 0; i < count; i++)
            take_field(&c, &next[i]);
        s->kind = find_kind(&next[0]);
        s->field = next + 1;
        s->nfields = count - 1;
        next += count;
        if (s->kind == NULL)
            return "unknown step kind";
        const char *reason = check_fields(s);
        if (reason != NULL)
            return reason;
    }
    return NULL;
}

/* One clone3; the monitor's steps before it, the child's behind; execve last and nowhere else. */
static const char *check_order(struct plan *plan, uint32_t *at)
{
    bool split = false;
    for (*at = 0; *at < plan->nsteps; (*at)++) {
        const struct step_kind *kind = plan->steps[*at].kind;
        bool last = *at + 1 == plan->nsteps;
        if (kind->side == SPLIT && split)
            return "a second clone3";
        if ((kind->side == MONITOR && split) || (kind->side == CHILD && !split))
            return "on the wrong side of clone3";
        if (last != (kind->run == step_execve))
            return last ? "the last step must be execve" : "execve must be the last step";
        if (kind->side == SPLIT) {
            split = true;
            plan->split = *at;
        }
    }
    return NULL; /* execve is a CHILD step, so a plan that ends with it has a clone3 */
}

static int refuse(struct plan *plan, struct plan_error *error, uint32_t step, const char *reason)
{
    plan_free(plan);
    error->step = step;
    error->reason = reason;
    return -EINVAL;
}

/* The order of the checks is from cheap to dear, and each relies on those before it. */
int plan_parse(struct plan *plan, const char *bytes, size_t size, struct plan_error *error)
{
    const size_t magic = strlen(PLAN_MAGIC);
    size_t nfields = 0;
    *plan = (struct plan){.bytes = bytes, .size = size};
    if (size < magic || memcmp(bytes, PLAN_MAGIC, magic) != 0)
        return refuse(plan, error, 0, "not a minidock plan");
    if (size > PLAN_MAX_SIZE)
        return refuse(plan, error, 0, "the plan is larger than 16 MiB");
    const struct cursor records = {bytes + magic, bytes + size};
    const char *reason = count_records(records, &plan->nsteps, &nfields);
    if (reason != NULL)
        return refuse(plan, error, plan->nsteps, reason);

    plan->steps = calloc(plan->nsteps, sizeof(*plan->steps));
    plan->fields = calloc(nfields, sizeof(*plan->fields));
    uint32_t at = 0;
    if (plan->steps == NULL || plan->fields == NULL) {
        refuse(plan, error, 0, "no memory for the plan");
        return -ENOMEM;
    }
    reason = index_steps(plan, records, &at);
    if (reason == NULL)
        reason = check_order(plan, &at);
    return reason == NULL ? 0 : refuse(plan, error, at, reason);
}

void plan_free(struct plan *plan)
{
    free(plan->steps);
    free(plan->fields);
    *plan = (struct plan){0};
}
