/* tree.h: a stopped container's files as one mount tree that is attached nowhere.
 *
 * `lowers` is ':'-joined, top first, relative to `base`. With an `upper` and `work` the tree can be written to, and what
 * is written lands in the upper directory as if the container had written it; with "" it is read-only. `place` is an
 * empty directory to mount on for a moment. Binds go on in their order; the places for them are made where missing,
 * as in a start, if there is an upper directory.
 *
 * Read next: tree.c. */
#ifndef MINIDOCK_TREE_H
#define MINIDOCK_TREE_H

struct md_tree {
    const char *base, *lowers, *upper, *work, *place;
    int readonly_root; /* the root can't be written, what is mounted on it can */
    int readonly_all;  /* nothing can be written */
    int count;         /* of binds: */
    const char *const *sources, *const *below, *const *targets; /* below: as path_clone() takes it */
    const int *readonly;
};

/* An fd of the tree's root, or -errno. The tree ends when the fd is closed. */
int md_container_tree(const struct md_tree *tree);

#endif
