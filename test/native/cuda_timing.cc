#include "cuda_timing.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "cases.h"
#include "core/scalar_math.h"
#include "cuda_encode_data.h"
#include "cuda_stopwatch.h"
#include "cuda_tokens_data.h"
#include "cuda_transform_data.h"
#include "cuda_versions.h"

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

class Timing {
 public:
  Timing(const SoftpackDeviceModule& module, uint64_t labels)
      : module_(module),
        backend_(*module.backend),
        labels_(labels),
        trial_(labels < kLabelsABatch),
        classes_(trial_ ? kTrialClasses : kClasses),
        watch_(module, trial_ ? 1 : kRounds) {}

  bool Run() {
    if (!watch_.ok()) return false;
    const uint64_t bytes = labels_ * classes_ * sizeof(float);
    out_ = watch_.Memory(bytes);
    logits_ = watch_.Memory(bytes);
    encoded_ = watch_.Memory(bytes);
    rounded_logits_ = watch_.Memory(bytes / 2);
    if (!watch_.ok()) return false;
    Random random(1);
    const std::vector<float> some = random.Floats(classes_ * std::min(kLabelsABatch, labels_));
    std::vector<uint16_t> rounded;
    for (const float logit : some) rounded.push_back(scalar::FloatToBfloat(logit));
    for (uint64_t at = 0; at + kLabelsABatch <= std::max(kLabelsABatch, labels_);
         at += kLabelsABatch) {
      watch_.Check(module_.memory_write(static_cast<float*>(logits_) + at * classes_, some.data(),
                                        some.size() * sizeof(float)));
      watch_.Check(module_.memory_write(static_cast<uint16_t*>(rounded_logits_) + at * classes_,
                                        rounded.data(), rounded.size() * sizeof(uint16_t)));
    }
    const double copies =
        watch_.Median("copy", "", labels_, 8.0 * static_cast<double>(classes_),
                      [&](uint64_t) { return module_.memory_copy(out_, logits_, bytes); });
    watch_.SetCopying(copies * 8 * static_cast<double>(classes_));
    for (const Setting& setting : kSettings) {
      if (!trial_ || &setting == std::end(kSettings) - 1) TimeSetting(setting);
    }
    TimeTransform();
    TimeTokens();
    return watch_.ok();
  }

  bool Write(const char* file, const SoftpackDeviceInfo& info) const {
    return watch_.Write(file, info, labels_);
  }

 private:
  void TimeSetting(const Setting& setting) {
    Random random(2);
    const uint64_t stages = setting.latent / setting.width;
    const std::vector<float> codebook = random.Floats(setting.levels * setting.width);
    const std::vector<float> basis = random.Floats(setting.latent * classes_);
    // Twice as many codes as labels are decoded at a time: each round starts elsewhere.
    std::vector<uint8_t> codes((2 * labels_ * stages * setting.bits + 7) / 8);
    for (uint8_t& byte : codes) byte = static_cast<uint8_t>(random.Below(256));
    const uint8_t* const codes_there = watch_.Upload(codes);
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
      watch_.Check(status);
      if (!watch_.ok()) return;
      SoftpackLabels labels = {};
      labels.codes = codes_there;
      labels.codes_bytes = codes.size();
      labels.count = labels_;
      const auto first = [this](uint64_t round) { return round * 7919 % labels_; };
      for (const uint32_t type : {kSoftpackFloat32, kSoftpackFloat16}) {
        const bool half = type == kSoftpackFloat16;
        watch_.Median(std::string("decode ") + methods[method] + (half ? " f16" : ""), name,
                      labels_, label_bytes + (half ? 2.0 : 4.0) * static_cast<double>(classes_),
                      [&](uint64_t round) {
                        labels.first = first(round);
                        const SoftpackDecodeArgs args{labels, out_, type, 1};
                        return backend_.decode(decoder, &args);
                      });
      }
      watch_.Median(std::string("decode_kl ") + methods[method], name, labels_,
                    label_bytes + 8.0 * static_cast<double>(classes_), [&](uint64_t round) {
                      labels.first = first(round);
                      const SoftpackDecodeKlArgs args = LossArgs(labels, logits_);
                      return backend_.decode_kl(decoder, &args);
                    });
      backend_.decoder_destroy(decoder);
    }
    spec.method = kSoftpackMethodBfloat;
    TimeVersions("bfloat", kBfloatVersion, spec, name, codes.size(), codes_there);
    spec.method = kSoftpackMethodFixed;
    TimeVersions("fixed", kTableVersion, spec, name, codes.size(), codes_there);
    TimeEncode(setting, name, label_bytes);
  }

  // Labels as at temperature 20, by both versions next to each other.
  void TimeEncode(const Setting& setting, const std::string& name, double code_bytes) {
    const uint64_t batch = std::min(kLabelsABatch, labels_);
    const EncodeData data(
        {batch, classes_, setting.latent / setting.width, setting.width, setting.levels}, 2);
    for (uint64_t at = 0; at + batch <= labels_; at += batch) {
      watch_.Check(module_.memory_write(static_cast<float*>(encoded_) + at * classes_,
                                        data.labels.data(), data.labels.size() * sizeof(float)));
    }
    const SoftpackEncoderSpec spec = data.spec();
    SoftpackEncoder* encoders[2] = {};
    for (int version = 0; watch_.ok() && version < 2; ++version) {
      const WishedVersion wished(kEncodeVersion, version == 0 ? "1" : "2");
      watch_.Check(backend_.encoder_create(&spec, &encoders[version]));
    }
    // Version 2 keeps the projection's parts besides.
    const bool differ =
        watch_.ok() && backend_.encoder_bytes(encoders[1]) > backend_.encoder_bytes(encoders[0]);
    for (int version = 0; version < (differ ? 2 : 1); ++version) {
      watch_.Median(
          std::string("encode") + (differ ? " version " + std::to_string(version + 1) : ""), name,
          labels_, code_bytes + 4.0 * static_cast<double>(classes_), [&](uint64_t) {
            const SoftpackEncodeArgs args{static_cast<const float*>(encoded_),
                                          static_cast<uint8_t*>(out_), labels_, 1};
            return backend_.encode(encoders[version], &args);
          });
    }
    for (SoftpackEncoder* encoder : encoders) {
      if (encoder != nullptr) backend_.encoder_destroy(encoder);
    }
  }

  // A method by its versions, where it has a second one for this shape: the rows that say which is
  // to be the default.
  void TimeVersions(const char* method, const char* variable, const SoftpackDecoderSpec& spec,
                    const std::string& name, uint64_t codes_bytes, const uint8_t* codes) {
    const Versions versions(backend_, variable, spec);
    if (!versions.differ()) return;
    SoftpackLabels labels = {};
    labels.codes = codes;
    labels.codes_bytes = codes_bytes;
    labels.count = labels_;
    const double label_bytes = static_cast<double>(spec.stages * spec.bits) / 8;
    // `use(decoder, type)`. The first once more, so that the two are measured next to each other.
    const auto compare = [&](const std::string& operation, uint32_t type, double class_bytes,
                             const auto& use) {
      const char* const suffix = type == kSoftpackFloat32   ? ""
                                 : type == kSoftpackFloat16 ? " f16"
                                                            : " bf16";
      for (const bool second : {false, true}) {
        watch_.Median(operation + " " + method + " version " + (second ? "2" : "1") + suffix, name,
                      labels_, label_bytes + class_bytes * static_cast<double>(classes_),
                      [&](uint64_t round) {
                        labels.first = round * 7919 % labels_;
                        return use(second ? versions.two : versions.one, type);
                      });
      }
    };
    const auto decode = [&](const SoftpackDecoder* decoder, uint32_t type) {
      const SoftpackDecodeArgs args{labels, out_, type, 1};
      return backend_.decode(decoder, &args);
    };
    compare("decode", kSoftpackFloat32, 4, decode);
    compare("decode", kSoftpackFloat16, 2, decode);
    // Losses of tables have one version.
    if (spec.method != kSoftpackMethodBfloat) return;
    const auto loss = [&](const SoftpackDecoder* decoder, uint32_t type) {
      const void* const logits = type == kSoftpackFloat32 ? logits_ : rounded_logits_;
      const SoftpackDecodeKlArgs args = LossArgs(labels, logits);
      return module_.decode_kl_as(decoder, &args, type);
    };
    compare("decode_kl", kSoftpackFloat32, 8, loss);
    compare("decode_kl", kSoftpackBfloat16, 4, loss);
  }

  // Gradients are stored, losses are not.
  SoftpackDecodeKlArgs LossArgs(const SoftpackLabels& labels, const void* logits) const {
    return {labels,
            static_cast<const float*>(logits),
            nullptr,
            static_cast<float*>(out_),
            4.0f,
            1.0f,
            kSoftpackLossKl,
            1};
  }

  // 64 components of one base vector a label, some 2 bits each.
  void TimeTransform() {
    if (!watch_.ok()) return;
    const TransformData data({"timed", classes_, 64, labels_, 1024, 8, 1000, 0, 1.5f}, 3);
    SoftpackTransform* transform = nullptr;
    watch_.Check(module_.transform_create(&data.spec, &transform));
    if (!watch_.ok()) return;
    const uint64_t bytes = data.blocks() * module_.transform_record_bytes(transform);
    auto* const records = static_cast<uint8_t*>(watch_.Memory(bytes));
    const SoftpackTransformRow row = {watch_.Upload(data.row), data.row.size(), data.blocks(),
                                      records};
    const double each = static_cast<double>(data.row.size()) / static_cast<double>(labels_);
    const std::string name = "64 components";
    watch_.Median("unpack transform", name, labels_, each + 128,
                  [&](uint64_t) { return module_.transform_unpack(transform, &row); });
    SoftpackLabels labels = {};
    labels.codes = records;
    labels.codes_bytes = bytes;
    labels.list = watch_.Upload(data.list);
    labels.count = labels_;
    labels.base_pairs = watch_.Upload(data.pairs);
    labels.base_weights = watch_.Upload(data.weights);
    const SoftpackDecodeArgs decode{labels, out_, kSoftpackFloat32, 1};
    watch_.Median("decode transform", name, labels_, 128 + 4.0 * static_cast<double>(classes_),
                  [&](uint64_t) { return module_.transform_decode(transform, 20.0f, &decode); });
    const SoftpackDecodeKlArgs kl{labels,          static_cast<const float*>(logits_),
                                  nullptr,         static_cast<float*>(out_),
                                  20.0f,           1.0f,
                                  kSoftpackLossKl, 1};
    watch_.Median("decode_kl transform", name, labels_, 128 + 8.0 * static_cast<double>(classes_),
                  [&](uint64_t) {
                    return module_.transform_decode_kl(transform, 20.0f, &kl, kSoftpackFloat32);
                  });
    module_.transform_destroy(transform);
  }

  // Labels of 20 tokens, and hidden states of 576 elements, of a vocabulary of 50,257: logits and
  // gradients in bfloat16.
  void TimeTokens() {
    const uint64_t positions = trial_ ? 2 : 2048, vocabulary = trial_ ? 50 : 50257;
    const uint64_t width = trial_ ? 8 : 576;
    TimeTokens("token_kl listed", "20 of ",
               {Teacher::kWhole, positions, vocabulary, vocabulary, 20, 1});
    TimeTokens("token_kl spread", "20 of ",
               {Teacher::kUniform, positions, vocabulary, vocabulary, 20, 1});
    TimeTokens("token_kl hidden", "states, ",
               {Teacher::kHidden, positions, vocabulary, vocabulary, width, 1});
  }

  void TimeTokens(const char* operation, const char* setting, const TokenCase& shape) {
    if (!watch_.ok()) return;
    const TokenData data(shape, 4);
    std::vector<uint16_t> rounded;
    for (const float logit : data.logits) rounded.push_back(scalar::FloatToBfloat(logit));
    SoftpackTokenLabels labels = {};
    if (shape.teacher == Teacher::kHidden) {
      labels.hidden = watch_.Upload(data.hidden);
      labels.head = watch_.Upload(data.head);
    } else {
      labels.ids = watch_.Upload(data.ids);
      labels.probabilities = watch_.Upload(data.probabilities);
    }
    labels.tail = shape.tail();
    labels.width = shape.width;
    labels.vocabulary = labels.columns = shape.vocabulary;
    SoftpackDecodeKlArgs args = {};
    args.labels.count = shape.positions;
    args.logits = reinterpret_cast<const float*>(watch_.Upload(rounded));
    args.gradient = static_cast<float*>(watch_.Memory(rounded.size() * sizeof(uint16_t)));
    args.tau = args.scale = 1;
    args.threads = 1;
    const double bytes = 4.0 * static_cast<double>(shape.vocabulary);
    watch_.Median(operation, setting + std::to_string(shape.vocabulary), shape.positions, bytes,
                  [&](uint64_t) { return module_.token_kl(&labels, &args, kSoftpackBfloat16); });
  }

  const SoftpackDeviceModule& module_;
  const SoftpackBackend& backend_;
  const uint64_t labels_;
  const bool trial_;
  const uint64_t classes_;
  Stopwatch watch_;
  void* out_ = nullptr;
  void* logits_ = nullptr;
  void* encoded_ = nullptr;         // labels
  void* rounded_logits_ = nullptr;  // to bfloat16
};

}  // namespace

bool WriteTimings(const SoftpackDeviceModule& module, const SoftpackDeviceInfo& info,
                  const char* file, uint64_t labels) {
  Timing timing(module, labels);
  return timing.Run() && timing.Write(file, info);
}

}  // namespace testing
}  // namespace softpack
