// What timings of native_cuda_check share: memory that lives as long as they do, a stopwatch by the
// device's own clock, and the table of results.
#ifndef SOFTPACK_TESTING_CUDA_STOPWATCH_H_
#define SOFTPACK_TESTING_CUDA_STOPWATCH_H_

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "core/device_module.h"

namespace softpack {
namespace testing {

class Stopwatch {
 public:
  // One `round` only shows that the program works, e.g. where threads are emulated.
  Stopwatch(const SoftpackDeviceModule& module, int rounds) : module_(module), rounds_(rounds) {
    Check(module.stream_create(&stream_));
    if (ok_) Check(module.use_stream(stream_));
  }
  ~Stopwatch() {
    for (void* const memory : memory_) module_.memory_destroy(memory);
    module_.end_stream();
    module_.stream_destroy(stream_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  bool ok() const { return ok_; }
  // What later rows are compared with, bytes/s.
  void SetCopying(double speed) { copy_ = speed; }

  void Check(int status) {
    if (ok_ && status != kSoftpackOk) {
      ok_ = false;
      std::fprintf(stderr, "timing: %s: %s\n", SoftpackStatusText(status), module_.last_error());
    }
  }

  void* Memory(uint64_t bytes) {
    void* memory = nullptr;
    if (ok_) Check(module_.memory_create(bytes, &memory));
    memory_.push_back(memory);
    return memory;
  }

  template <class T>
  T* Upload(const std::vector<T>& values) {
    void* const memory = Memory(values.size() * sizeof(T));
    if (ok_) Check(module_.memory_write(memory, values.data(), values.size() * sizeof(T)));
    return static_cast<T*>(memory);
  }

  // The median of all rounds of `labels` labels, after two that warm up.
  double Median(const std::string& operation, const std::string& setting, uint64_t labels,
                double bytes, const std::function<int(uint64_t)>& work) {
    std::vector<double> speeds;
    for (int round = rounds_ == 1 ? 0 : -2; ok_ && round < rounds_; ++round) {
      float milliseconds = 0;
      Check(module_.stopwatch(0, nullptr));
      Check(work(static_cast<uint64_t>(round + 2)));
      Check(module_.stopwatch(1, &milliseconds));
      Check(module_.finish());
      if (round >= 0) speeds.push_back(static_cast<double>(labels) / (milliseconds * 1e-3));
    }
    if (!ok_) return 0;
    std::sort(speeds.begin(), speeds.end());
    rows_.push_back(
        {operation, setting, speeds[rounds_ / 2], speeds.front(), speeds.back(), bytes});
    const double of_copy = copy_ == 0 ? 1 : speeds[rounds_ / 2] * bytes / copy_;
    std::printf("%-22s %-16s %9.2f M labels/s (%.2f to %.2f), %5.1f %% of copying\n",
                operation.c_str(), setting.c_str(), speeds[rounds_ / 2] / 1e6, speeds.front() / 1e6,
                speeds.back() / 1e6, 100 * of_copy);
    return speeds[rounds_ / 2];
  }

  bool Write(const char* file, const SoftpackDeviceInfo& info, uint64_t labels) const {
    std::FILE* const out = std::fopen(file, "w");
    if (out == nullptr) return false;
    std::fprintf(out,
                 "{\n  \"device\": \"%s\",\n  \"capability\": \"%u.%u\",\n  \"driver\": %u,\n"
                 "  \"runtime\": %u,\n  \"labels\": %llu,\n  \"copyBytesPerSecond\": %.4g,\n"
                 "  \"rows\": [\n",
                 info.name, info.capability_major, info.capability_minor, info.driver_version,
                 info.runtime_version, static_cast<unsigned long long>(labels), copy_);
    for (size_t i = 0; i < rows_.size(); ++i) {
      const Row& row = rows_[i];
      std::fprintf(out,
                   "    {\"operation\": \"%s\", \"setting\": \"%s\", \"labelsPerSecond\": %.4g, "
                   "\"least\": %.4g, \"most\": %.4g, \"ofCopy\": %.3f}%s\n",
                   row.operation.c_str(), row.setting.c_str(), row.median, row.least, row.most,
                   row.median * row.bytes / copy_, i + 1 < rows_.size() ? "," : "");
    }
    std::fprintf(out, "  ]\n}\n");
    return std::fclose(out) == 0;
  }

 private:
  struct Row {
    std::string operation, setting;
    double median, least, most;  // labels/s
    double bytes;                // a label that must cross device memory
  };

  const SoftpackDeviceModule& module_;
  const int rounds_;
  std::vector<void*> memory_;
  std::vector<Row> rows_;
  void* stream_ = nullptr;
  double copy_ = 0;
  bool ok_ = true;
};

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_STOPWATCH_H_
