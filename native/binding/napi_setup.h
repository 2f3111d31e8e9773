// The only place that includes node-addon-api, so that its switches are the same everywhere.
#ifndef SOFTPACK_BINDING_NAPI_SETUP_H_
#define SOFTPACK_BINDING_NAPI_SETUP_H_

// Node-API 8: every Node.js that the package supports.
#define NAPI_VERSION 8
#define NODE_ADDON_API_DISABLE_DEPRECATED
// A worker thread that is terminated inside a native call cannot take an exception: drop it instead
// of aborting the process.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS

#if !defined(NODE_ADDON_API_CPP_EXCEPTIONS_ALL)
#error "The binding needs C++ exceptions: build it by scripts/build-addon.mjs or CMakeLists.txt."
#endif

#include <napi.h>

#endif  // SOFTPACK_BINDING_NAPI_SETUP_H_
