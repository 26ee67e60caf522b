/* A shim's function for a caller in another namespace, whose libc has an errno of its own. */
#ifndef VGPU_AUDIT_ELSEWHERE_H
#define VGPU_AUDIT_ELSEWHERE_H

#include <link.h>
#include <stdint.h>

/* Code that calls `function`, and where that answers -1 puts the errno of `own_libc`, the program's, into that of
 * `their_libc`, the caller's. 0: there is no room for more, or a libc has no errno. */
uintptr_t vgpu_elsewhere(uintptr_t function, const struct link_map *own_libc, const struct link_map *their_libc);

/* A namespace's libc goes, and with it all who could call. */
void vgpu_elsewhere_close(const struct link_map *their_libc);

#endif
