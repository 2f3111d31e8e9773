// The version of `bfloat` that decoders created meanwhile are to have (cuda/bfloat_versions.h).
#ifndef SOFTPACK_TESTING_CUDA_VERSIONS_H_
#define SOFTPACK_TESTING_CUDA_VERSIONS_H_

#include <cstdlib>
#include <string>

namespace softpack {
namespace testing {

class WishedVersion {
 public:
  explicit WishedVersion(const char* version) {
    const char* const before = std::getenv(kName);
    known_ = before != nullptr;
    if (known_) before_ = before;
    setenv(kName, version, 1);
  }
  ~WishedVersion() {
    if (known_)
      setenv(kName, before_.c_str(), 1);
    else
      unsetenv(kName);
  }
  WishedVersion(const WishedVersion&) = delete;
  WishedVersion& operator=(const WishedVersion&) = delete;

 private:
  static constexpr const char* kName = "SOFTPACK_CUDA_BFLOAT";
  bool known_;
  std::string before_;
};

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_VERSIONS_H_
