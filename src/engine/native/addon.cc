// The Node addon. Loading it registers the ops; its one function tells how it was built.
#include <node_api.h>

#include "element.h"
#include "pool.h"

static napi_value describe(napi_env env, napi_callback_info) {
  napi_value result, threads, lanes, bf16;
  napi_create_object(env, &result);
  napi_create_int32(env, tunebook::threadCount(), &threads);
  napi_create_int32(env, tunebook::kLanes, &lanes);
  napi_set_named_property(env, result, "threads", threads);
  napi_get_boolean(env, tunebook::kHasBf16, &bf16);
  napi_set_named_property(env, result, "lanes", lanes);
  napi_set_named_property(env, result, "bf16", bf16);
  return result;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "describe", NAPI_AUTO_LENGTH, describe, nullptr, &function);
  napi_set_named_property(env, exports, "describe", function);
  return exports;
}
