// Compiled into the TensorFlow.js binding. TensorFlow reads its settings from the environment of the
// process, and a worker thread of Node.js only has a copy of that: they must be set from native code.
#include <cstdlib>

namespace {

__attribute__((constructor)) void SetDefaults() {
  // Without it TensorFlow takes the whole memory of the GPU at once.
  setenv("TF_FORCE_GPU_ALLOW_GROWTH", "true", /*overwrite=*/0);
  // Errors and warnings only.
  setenv("TF_CPP_MIN_LOG_LEVEL", "1", /*overwrite=*/0);
}

}  // namespace
