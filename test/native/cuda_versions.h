// Versions that decoders and encoders created meanwhile are to have: of `bfloat`
// (cuda/bfloat_versions.h), of tables in shared memory (cuda/table_versions.h) and of encoding
// (cuda/encode_versions.h).
#ifndef SOFTPACK_TESTING_CUDA_VERSIONS_H_
#define SOFTPACK_TESTING_CUDA_VERSIONS_H_

#include <cstdlib>
#include <string>

#include "core/backend.h"

namespace softpack {
namespace testing {

constexpr const char* kBfloatVersion = "SOFTPACK_CUDA_BFLOAT";
constexpr const char* kTableVersion = "SOFTPACK_CUDA_TABLES";
constexpr const char* kEncodeVersion = "SOFTPACK_CUDA_ENCODE";

class WishedVersion {
 public:
  WishedVersion(const char* name, const char* version) : name_(name) {
    const char* const before = std::getenv(name);
    known_ = before != nullptr;
    if (known_) before_ = before;
    setenv(name, version, 1);
  }
  ~WishedVersion() {
    if (known_)
      setenv(name_, before_.c_str(), 1);
    else
      unsetenv(name_);
  }
  WishedVersion(const WishedVersion&) = delete;
  WishedVersion& operator=(const WishedVersion&) = delete;

 private:
  const char* name_;
  bool known_;
  std::string before_;
};

// A decoder of each version, as far as they can be had.
struct Versions {
  SoftpackDecoder* one = nullptr;
  SoftpackDecoder* two = nullptr;

  Versions(const SoftpackBackend& backend, const char* name, const SoftpackDecoderSpec& spec)
      : backend_(backend) {
    const WishedVersion first(name, "1");
    status = backend.decoder_create(&spec, &one);
    const WishedVersion second(name, "2");
    if (status == kSoftpackOk) status = backend.decoder_create(&spec, &two);
  }
  ~Versions() {
    if (one != nullptr) backend_.decoder_destroy(one);
    if (two != nullptr) backend_.decoder_destroy(two);
  }
  Versions(const Versions&) = delete;
  Versions& operator=(const Versions&) = delete;

  // Each has tables of its own: whether version 2 is what the second decoder has.
  bool differ() const { return status == kSoftpackOk && BytesOf(two) != BytesOf(one); }

  int status;

 private:
  uint64_t BytesOf(const SoftpackDecoder* decoder) const {
    SoftpackDecoderInfo info = {};
    backend_.decoder_info(decoder, &info);
    return info.bytes;
  }
  const SoftpackBackend& backend_;
};

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_VERSIONS_H_
