#include "cuda_timing.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "cases.h"
#include "cuda_transform_data.h"

namespace softpack {
namespace testing {
namespace {

constexpr uint64_t kClasses = 1000;
constexpr int kRounds = 15;
// Random logits, repeated.
constexpr uint64_t kLabelsABatch = 4096;
// Fewer labels than a batch only show that the program works, e.g. where threads are emulated.
constexpr uint64_t kTrialClasses = 64;

struct Setting {
  uint64_t latent, width, levels;
  uint32_t bits;
};
constexpr Setting kSettings[] = {
    {795, 5, 1024, 10}, {990, 15, 2048, 11}, {1000, 20, 1024, 10},
    {1000, 25, 512, 9}, {1000, 50, 128, 7},  {1000, 100, 64, 6},
};

struct Row {
  std::string operation, setting;
  double median, least, most;  // labels/s
  double bytes;                // a label that must cross device memory
};

class Timing {
 public:
  Timing(const SoftpackDeviceModule& module, const SoftpackDeviceInfo& info, uint64_t labels)
      : module_(module),
        backend_(*module.backend),
        info_(info),
        labels_(labels),
        classes_(labels < kLabelsABatch ? kTrialClasses : kClasses),
        rounds_(labels < kLabelsABatch ? 1 : kRounds) {}
  ~Timing() {
    for (void* const memory : memory_) module_.memory_destroy(memory);
    module_.end_stream();
    module_.stream_destroy(stream_);
  }

  bool Run() {
    Check(module_.stream_create(&stream_));
    if (ok_) Check(module_.use_stream(stream_));
    if (!ok_) return false;
    const uint64_t bytes = labels_ * classes_ * sizeof(float);
    out_ = Memory(bytes);
    logits_ = Memory(bytes);
    if (!ok_) return false;
    Random random(1);
    const std::vector<float> some = random.Floats(classes_ * std::min(kLabelsABatch, labels_));
    for (uint64_t at = 0; at + kLabelsABatch <= std::max(kLabelsABatch, labels_);
         at += kLabelsABatch) {
      Check(module_.memory_write(static_cast<float*>(logits_) + at * classes_, some.data(),
                                 some.size() * sizeof(float)));
    }
    const double copies = Median("copy", "", 8.0 * static_cast<double>(classes_), [&](uint64_t) {
      return module_.memory_copy(out_, logits_, bytes);
    });
    copy_ = copies * 8 * static_cast<double>(classes_);
    for (const Setting& setting : kSettings) {
      if (rounds_ == kRounds || &setting == std::end(kSettings) - 1) TimeSetting(setting);
    }
    TimeTransform();
    return ok_;
  }

  bool Write(const char* file) const {
    std::FILE* const out = std::fopen(file, "w");
    if (out == nullptr) return false;
    std::fprintf(out,
                 "{\n  \"device\": \"%s\",\n  \"capability\": \"%u.%u\",\n  \"driver\": %u,\n"
                 "  \"runtime\": %u,\n  \"labels\": %llu,\n  \"copyBytesPerSecond\": %.4g,\n"
                 "  \"rows\": [\n",
                 info_.name, info_.capability_major, info_.capability_minor, info_.driver_version,
                 info_.runtime_version, static_cast<unsigned long long>(labels_), copy_);
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

  // The median of all rounds after two that warm up.
  double Median(const std::string& operation, const std::string& setting, double bytes,
                const std::function<int(uint64_t)>& work) {
    std::vector<double> speeds;
    for (int round = rounds_ == 1 ? 0 : -2; ok_ && round < rounds_; ++round) {
      float milliseconds = 0;
      Check(module_.stopwatch(0, nullptr));
      Check(work(static_cast<uint64_t>(round + 2)));
      Check(module_.stopwatch(1, &milliseconds));
      Check(module_.finish());
      if (round >= 0) speeds.push_back(static_cast<double>(labels_) / (milliseconds * 1e-3));
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

  void TimeSetting(const Setting& setting) {
    Random random(2);
    const uint64_t stages = setting.latent / setting.width;
    const std::vector<float> codebook = random.Floats(setting.levels * setting.width);
    const std::vector<float> basis = random.Floats(setting.latent * classes_);
    // Twice as many codes as labels are decoded at a time: each round starts elsewhere.
    std::vector<uint8_t> codes((2 * labels_ * stages * setting.bits + 7) / 8);
    for (uint8_t& byte : codes) byte = static_cast<uint8_t>(random.Below(256));
    const uint8_t* const codes_there = Upload(codes);
    const std::string name = "(" + std::to_string(setting.latent) + "," +
                             std::to_string(setting.width) + "," + std::to_string(setting.levels) +
                             ")";
    SoftpackDecoderSpec spec = {};
    spec.codebooks = codebook.data();
    spec.basis = basis.data();
    spec.classes = classes_;
    spec.latent = setting.latent;
    spec.stages = stages;
    spec.levels = setting.levels;
    spec.width = setting.width;
    spec.latent_step = setting.width;
    spec.bits = setting.bits;
    spec.head = kSoftpackHeadClamp;
    spec.head_parameter = 1e-6f;
    const double label_bytes = static_cast<double>(stages * setting.bits) / 8;
    const char* const methods[] = {"", "latent", "", "fixed", "bfloat", "split"};
    for (const uint32_t method : {kSoftpackMethodLatent, kSoftpackMethodFixed,
                                  kSoftpackMethodBfloat, kSoftpackMethodSplit}) {
      spec.method = method;
      SoftpackDecoder* decoder = nullptr;
      const int status = backend_.decoder_create(&spec, &decoder);
      if (status == kSoftpackUnsupportedMethod) continue;
      Check(status);
      if (!ok_) return;
      SoftpackLabels labels = {};
      labels.codes = codes_there;
      labels.codes_bytes = codes.size();
      labels.count = labels_;
      const auto first = [this](uint64_t round) { return round * 7919 % labels_; };
      for (const uint32_t type : {kSoftpackFloat32, kSoftpackFloat16}) {
        const bool half = type == kSoftpackFloat16;
        Median(std::string("decode ") + methods[method] + (half ? " f16" : ""), name,
               label_bytes + (half ? 2.0 : 4.0) * static_cast<double>(classes_),
               [&](uint64_t round) {
                 labels.first = first(round);
                 const SoftpackDecodeArgs args{labels, out_, type, 1};
                 return backend_.decode(decoder, &args);
               });
      }
      Median(std::string("decode_kl ") + methods[method], name,
             label_bytes + 8.0 * static_cast<double>(classes_), [&](uint64_t round) {
               labels.first = first(round);
               const SoftpackDecodeKlArgs args{labels,
                                               static_cast<const float*>(logits_),
                                               nullptr,
                                               static_cast<float*>(out_),
                                               4.0f,
                                               1.0f,
                                               kSoftpackLossKl,
                                               1};
               return backend_.decode_kl(decoder, &args);
             });
      backend_.decoder_destroy(decoder);
    }
    const SoftpackEncoderSpec encoder_spec{basis.data(),   codebook.data(), classes_,
                                           setting.latent, setting.width,   setting.levels,
                                           setting.bits};
    SoftpackEncoder* encoder = nullptr;
    Check(backend_.encoder_create(&encoder_spec, &encoder));
    if (!ok_) return;
    Median("encode", name, label_bytes + 4.0 * static_cast<double>(classes_), [&](uint64_t) {
      const SoftpackEncodeArgs args{static_cast<const float*>(logits_), static_cast<uint8_t*>(out_),
                                    labels_, 1};
      return backend_.encode(encoder, &args);
    });
    backend_.encoder_destroy(encoder);
  }

  // 64 components of one base vector a label, some 2 bits each.
  void TimeTransform() {
    if (!ok_) return;
    const TransformData data({"timed", classes_, 64, labels_, 1024, 8, 1000, 0, 1.5f}, 3);
    SoftpackTransform* transform = nullptr;
    Check(module_.transform_create(&data.spec, &transform));
    if (!ok_) return;
    const uint64_t bytes = data.blocks() * module_.transform_record_bytes(transform);
    auto* const records = static_cast<uint8_t*>(Memory(bytes));
    const SoftpackTransformRow row = {Upload(data.row), data.row.size(), data.blocks(), records};
    const double each = static_cast<double>(data.row.size()) / static_cast<double>(labels_);
    const std::string name = "64 components";
    Median("unpack transform", name, each + 128,
           [&](uint64_t) { return module_.transform_unpack(transform, &row); });
    SoftpackLabels labels = {};
    labels.codes = records;
    labels.codes_bytes = bytes;
    labels.list = Upload(data.list);
    labels.count = labels_;
    labels.base_pairs = Upload(data.pairs);
    labels.base_weights = Upload(data.weights);
    const SoftpackDecodeArgs decode{labels, out_, kSoftpackFloat32, 1};
    Median("decode transform", name, 128 + 4.0 * static_cast<double>(classes_),
           [&](uint64_t) { return module_.transform_decode(transform, 20.0f, &decode); });
    const SoftpackDecodeKlArgs kl{labels,          static_cast<const float*>(logits_),
                                  nullptr,         static_cast<float*>(out_),
                                  20.0f,           1.0f,
                                  kSoftpackLossKl, 1};
    Median("decode_kl transform", name, 128 + 8.0 * static_cast<double>(classes_), [&](uint64_t) {
      return module_.transform_decode_kl(transform, 20.0f, &kl, kSoftpackFloat32);
    });
    module_.transform_destroy(transform);
  }

  const SoftpackDeviceModule& module_;
  const SoftpackBackend& backend_;
  const SoftpackDeviceInfo& info_;
  const uint64_t labels_;
  const uint64_t classes_;
  const int rounds_;
  std::vector<void*> memory_;
  std::vector<Row> rows_;
  void* stream_ = nullptr;
  void* out_ = nullptr;
  void* logits_ = nullptr;
  double copy_ = 0;
  bool ok_ = true;
};

}  // namespace

bool WriteTimings(const SoftpackDeviceModule& module, const SoftpackDeviceInfo& info,
                  const char* file, uint64_t labels) {
  Timing timing(module, info, labels);
  return timing.Run() && timing.Write(file);
}

}  // namespace testing
}  // namespace softpack
