/* steps_devices.c: the device rules of the container's cgroup.
 *
 * Limits (memory, cpu, pids) are plain files that the daemon has written before; what is left for C is to attach
 * the program that cgroup v2 has in place of v1's devices.allow files. The container enters its cgroup by being
 * born there (step_clone3 in walk.c), as the monitor did (main.c).
 *
 * Serves: the plan's first lines. Read next: steps_monitor.c, minidock/cgroup (who writes the limits). */
#include <fcntl.h>
#include <linux/bpf.h>
#include <unistd.h>

#include "step.h"
#include "sys.h"

static int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
    return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* devices: which device nodes the container may open or make.
 * Why:   CAP_MKNOD is among Docker's default capabilities, so a container can make a node for the host's
 *        disk; this program decides that it can't be opened. Without it /dev is only a suggestion.
 * Order: before clone3: there is no moment in which the cgroup has processes and no rules.
 *        BPF_F_ALLOW_MULTI: a parent's program still runs, so a nested daemon can only narrow.
 * See:   bpf(2), cgroups(7), Documentation/admin-guide/cgroup-v2.rst "Device controller".
 *        Look: bpftool cgroup show CGROUPDIR */
int step_devices(struct walk *w, const struct plan_step *s)
{
    const struct plan_field *code = &s->field[1];
    CLEANUP_FD int cgroup = open(s->field[0].text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cgroup < 0)
        return step_errno(w, s->field[0].text);
    if (code->size == 0 || code->size % sizeof(struct bpf_insn) != 0)
        return step_fail(w, EINVAL, "the device program is not a list of bpf instructions");
    union bpf_attr load = {
        .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
        .insns = (uint64_t)(uintptr_t)code->text,
        .insn_cnt = code->size / (uint32_t)sizeof(struct bpf_insn),
        .license = (uint64_t)(uintptr_t) "Apache-2.0",
    };
    CLEANUP_FD int program = bpf(BPF_PROG_LOAD, &load);
    if (program < 0)
        return step_errno(w, "the kernel refuses the device program");
    union bpf_attr attach = {
        .target_fd = (uint32_t)cgroup,
        .attach_bpf_fd = (uint32_t)program,
        .attach_type = BPF_CGROUP_DEVICE,
        .attach_flags = BPF_F_ALLOW_MULTI,
    };
    return bpf(BPF_PROG_ATTACH, &attach) < 0 ? step_errno(w, s->field[0].text) : 0;
}
