// The Node addon. Loading it registers the ops; its functions tell how it was built and how fast the CPU can be,
// and give back what loading left behind.
#include <node_api.h>

#include "element.h"
#include "groups.h"
#include "peak.h"
#include "pool.h"
#include "trim.h"

static napi_value describe(napi_env env, napi_callback_info) {
  napi_value result, threads, lanes, bf16;
  napi_create_object(env, &result);
  napi_create_int32(env, tunebook::threadCount(), &threads);
  napi_create_int32(env, tunebook::kLanes, &lanes);
  napi_set_named_property(env, result, "threads", threads);
  napi_get_boolean(env, tunebook::kHasBf16, &bf16);
  napi_set_named_property(env, result, "lanes", lanes);
  napi_set_named_property(env, result, "bf16", bf16);
  napi_value grouped;
  napi_create_array(env, &grouped);
  uint32_t count = 0;
  for (int64_t code = 0; code < tunebook::kKindCodes; code++)
    if (tunebook::withGrouped(code, [](auto, auto) {})) {
      napi_value number;
      napi_create_int64(env, code, &number);
      napi_set_element(env, grouped, count++, number);
    }
  napi_set_named_property(env, result, "grouped", grouped);
  return result;
}

// peak(bf16, seconds): GFLOPS
static napi_value peak(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], result;
  bool bf16 = false;
  double seconds = 0.5, gflops = 0;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  napi_get_value_bool(env, arguments[0], &bf16);
  napi_get_value_double(env, arguments[1], &seconds);
  tunebook::withPrecision(bf16, [&](auto p) { gflops = tunebook::peakGflops<decltype(p)>(seconds); });
  napi_create_double(env, gflops, &result);
  return result;
}

static napi_value trim(napi_env, napi_callback_info) {
  tunebook::trimLibraries();
  return nullptr;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "peak", NAPI_AUTO_LENGTH, peak, nullptr, &function);
  napi_set_named_property(env, exports, "peak", function);
  napi_create_function(env, "trim", NAPI_AUTO_LENGTH, trim, nullptr, &function);
  napi_set_named_property(env, exports, "trim", function);
  napi_create_function(env, "describe", NAPI_AUTO_LENGTH, describe, nullptr, &function);
  napi_set_named_property(env, exports, "describe", function);
  return exports;
}
