"""Builds minidock._shim: csrc/shim.c and libseccomp, as a cffi extension in API mode.

API mode: the C compiler checks the declarations below against the real headers, and calls cost what a C call costs.
setup.py names ``ffibuilder`` below (cffi_modules), so that ``pip install`` compiles it. Only the daemon imports the
result: through minidock/linux/shim.py (our own calls) and minidock/runtime/seccomp_bpf.py (libseccomp).
Read next: shim.c.
"""

from pathlib import Path

from cffi import FFI

# Relative to the top of the repository, where setup.py runs.
CSRC = Path("csrc")

OUR_CALLS = """
    int md_spawn(int exe_fd, const int *fds, int nfds, char *const argv[]);
    int md_openat2(int dirfd, const char *path, int flags, int mode, unsigned long long resolve);
    int md_setns(int fd, int nstype);
    int md_unshare(int flags);
    int md_overlay_view(const char *base, const char *lowers);
    struct md_tree {
        const char *base, *lowers, *upper, *work, *place;
        int readonly_root;
        int readonly_all;
        int count;
        const char *const *sources, *const *below, *const *targets;
        const int *readonly;
    };
    int md_container_tree(const struct md_tree *tree);
    int md_userns(const char *uid_map, const char *gid_map);
    int md_netns_in(int userns);
    int md_try_idmap(int userns, const char *base);
    int md_act_as(unsigned uid, unsigned gid);
"""

# malloc.h
GLIBC = """
    #define M_ARENA_MAX ...
    int mallopt(int param, int value);
"""

# seccomp.h, as of libseccomp 2.5; "..." is filled in by the compiler.
LIBSECCOMP = """
    typedef void *scmp_filter_ctx;
    struct scmp_version { unsigned int major; unsigned int minor; unsigned int micro; };
    struct scmp_arg_cmp { unsigned int arg; int op; uint64_t datum_a; uint64_t datum_b; };
    #define __NR_SCMP_ERROR ...
    #define SCMP_FLTATR_ACT_BADARCH ...
    #define SCMP_FLTATR_CTL_OPTIMIZE ...
    const struct scmp_version *seccomp_version(void);
    scmp_filter_ctx seccomp_init(uint32_t def_action);
    void seccomp_release(scmp_filter_ctx ctx);
    int seccomp_attr_set(scmp_filter_ctx ctx, int attr, uint32_t value);
    uint32_t seccomp_arch_resolve_name(const char *arch_name);
    int seccomp_arch_add(scmp_filter_ctx ctx, uint32_t arch_token);
    int seccomp_syscall_resolve_name(const char *name);
    int seccomp_syscall_resolve_name_arch(uint32_t arch_token, const char *name);
    int seccomp_rule_add_array(scmp_filter_ctx ctx, uint32_t action, int syscall, unsigned int arg_cnt,
                               const struct scmp_arg_cmp *arg_array);
    int seccomp_export_bpf(const scmp_filter_ctx ctx, int fd);
"""

ffibuilder = FFI()
ffibuilder.cdef(OUR_CALLS + GLIBC + LIBSECCOMP)
ffibuilder.set_source(
    "minidock._shim",
    '#include <malloc.h>\n#include <seccomp.h>\n#include "shim.h"\n#include "tree.h"\n#include "userns.h"\n',
    sources=[str(CSRC / name) for name in ("shim.c", "idmap.c", "overlay.c", "path.c", "tree.c", "userns.c", "util.c")],
    include_dirs=[str(CSRC)],
    libraries=["seccomp"],
    define_macros=[("_GNU_SOURCE", "")],
    extra_compile_args=["-std=gnu11", "-pthread"],
    extra_link_args=["-pthread"],
)
