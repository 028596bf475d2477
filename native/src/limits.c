#include <errno.h>
#include <sys/resource.h>

#include "rudder.h"

/* forbidCoreDumps(): of this process and those that it starts, for good. Not by PR_SET_DUMPABLE, which would give its /proc to root. */
napi_value forbid_core_dumps(napi_env env, napi_callback_info info) {
  (void)info;
  const struct rlimit none = {0, 0};
  return setrlimit(RLIMIT_CORE, &none) < 0 ? throw_errno(env, errno, "setrlimit", NULL) : NULL;
}
