// Holds what one decoder of the module gives, labels, losses and gradients, to the CPU's and to
// float64.
#ifndef SOFTPACK_TESTING_CUDA_DECODE_RESULTS_H_
#define SOFTPACK_TESTING_CUDA_DECODE_RESULTS_H_

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cases.h"
#include "core/half.h"
#include "core/scalar_math.h"
#include "cuda_harness.h"

namespace softpack {
namespace testing {

inline const char* const kMethodNames[] = {"auto", "latent", "table", "fixed", "bfloat", "split"};
inline const char* const kHeadNames[] = {"identity", "clamp", "softmax"};

inline float FromHalf(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double size =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>(bits & 0x8000 ? -size : size);
}

inline float FromBfloat(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

// Two versions' sums of the same products, in other orders; and float64's.
constexpr double kOrder = 1e-5;

template <class T>
double OfType(T value, uint32_t type) {
  if constexpr (sizeof(T) == 4) return value;
  return type == kSoftpackFloat16 ? FromHalf(value) : FromBfloat(value);
}

// Elements that bfloat16 holds: what is left to deviate is the sums.
inline void RoundToBfloat(DecodeData& data) {
  for (auto* const values : {&data.codebooks, &data.basis}) {
    for (float& value : *values) value = FromBfloat(scalar::FloatToBfloat(value));
  }
}

// || found - reference || / || reference ||, summed up over labels.
struct Deviation {
  double square = 0, size = 0;
  void Add(double found, double expected) {
    square += (found - expected) * (found - expected);
    size += expected * expected;
  }
  double Relative() const { return size == 0 ? std::sqrt(square) : std::sqrt(square / size); }
};

// Error bound of each method for v; labels of a head deviate less.
inline double BoundOf(uint32_t method, uint32_t type) {
  const double rounding = type == kSoftpackFloat32 ? 0 : type == kSoftpackFloat16 ? 1e-3 : 4e-3;
  switch (method) {
    case kSoftpackMethodFixed:
      return 2e-3 + rounding;
    case kSoftpackMethodBfloat:
      return 5e-3 + rounding;
    case kSoftpackMethodSplit:
      return 2e-5 + rounding;
    default:
      return 3e-6 + rounding;
  }
}

struct Decoders {
  SoftpackDecoder* on_cpu = nullptr;
  SoftpackDecoder* on_cuda = nullptr;
  ~Decoders() {
    if (on_cpu != nullptr) cpu->decoder_destroy(on_cpu);
    if (on_cuda != nullptr) cuda->decoder_destroy(on_cuda);
  }
};

// Labels whose arrays are at the location under test.
class LabelArrays {
 public:
  LabelArrays(const SoftpackLabels& labels, bool on_device)
      : labels_(labels),
        codes_(Copy(labels.codes, labels.codes_bytes), on_device),
        list_(Copy(labels.list, labels.count), on_device),
        pairs_(Copy(labels.base_pairs, 2 * labels.count), on_device),
        weights_(Copy(labels.base_weights, labels.count), on_device) {
    labels_.codes = codes_.get();
    if (labels.list != nullptr) labels_.list = list_.get();
    if (labels.base_pairs != nullptr) labels_.base_pairs = pairs_.get();
    if (labels.base_weights != nullptr) labels_.base_weights = weights_.get();
  }
  const SoftpackLabels& get() const { return labels_; }

 private:
  template <class T>
  static std::vector<T> Copy(const T* from, uint64_t count) {
    return from == nullptr ? std::vector<T>() : std::vector<T>(from, from + count);
  }
  SoftpackLabels labels_;
  Array<uint8_t> codes_;
  Array<uint32_t> list_, pairs_;
  Array<float> weights_;
};

template <class T>
inline void CheckDecodeInto(uint32_t type, const std::string& name, const DecodeData& data,
                            const SoftpackLabels& labels, const Decoders& decoders, uint32_t method,
                            bool on_device) {
  const uint64_t classes = data.spec.classes, elements = labels.count * classes;
  Array<T> out(Poisoned<T>(elements), on_device);
  const LabelArrays there(labels, on_device);
  SoftpackDecodeArgs args{there.get(), out.get(), type, 1};
  const int status = cuda->decode(decoders.on_cuda, &args);
  Expect(status == kSoftpackOk, name + " " + Reason(status));
  const auto found = out.Read();
  if (decoders.on_cpu != nullptr) {
    auto expected = Poisoned<T>(elements);
    args = {labels, expected.data(), type, 1};
    cpu->decode(decoders.on_cpu, &args);
    Expect(Same(found, expected), name + " gives the CPU's bytes");
  }
  Deviation deviation;
  for (uint64_t i = 0; i < labels.count; ++i) {
    std::vector<double> expected = ReferenceValues(data, labels, i);
    ReferenceHead(data.spec, expected);
    for (uint64_t j = 0; j < classes; ++j) {
      double value;
      if constexpr (sizeof(T) == 4)
        value = found[i * classes + j];
      else
        value = type == kSoftpackFloat16 ? FromHalf(found[i * classes + j])
                                         : FromBfloat(found[i * classes + j]);
      deviation.Add(value, expected[j]);
    }
  }
  Expect(deviation.Relative() <= BoundOf(method, type),
         name + " deviates from float64 by " + std::to_string(deviation.Relative()));
}

inline void CheckKl(const std::string& name, const DecodeData& data, const SoftpackLabels& labels,
                    const Decoders& decoders, uint32_t method, uint32_t loss, bool on_device,
                    bool in_place) {
  const uint64_t classes = data.spec.classes, elements = labels.count * classes;
  Random random(5);
  auto logits = random.Floats(elements);
  for (float& logit : logits) logit *= 3;
  Array<float> logits_there(logits, on_device);
  Array<float> losses(Poisoned<float>(labels.count), on_device);
  Array<float> gradient(Poisoned<float>(elements), on_device);
  const LabelArrays there(labels, on_device);
  SoftpackDecodeKlArgs args{there.get(),  logits_there.get(),
                            losses.get(), in_place ? logits_there.get() : gradient.get(),
                            4.0f,         16.0f,
                            loss,         1};
  const int status = cuda->decode_kl(decoders.on_cuda, &args);
  Expect(status == kSoftpackOk, name + " " + Reason(status));
  const auto found = losses.Read();
  const auto slope = in_place ? logits_there.Read() : gradient.Read();
  if (decoders.on_cpu != nullptr) {
    auto expected = Poisoned<float>(labels.count), expected_slope = Poisoned<float>(elements);
    args = {labels, logits.data(), expected.data(), expected_slope.data(), 4.0f, 16.0f, loss, 1};
    cpu->decode_kl(decoders.on_cpu, &args);
    Expect(Same(found, expected), name + " gives the CPU's losses");
    Expect(Same(slope, expected_slope), name + " gives the CPU's gradient");
  }
  double worst_loss = 0;
  Deviation deviation;
  for (uint64_t i = 0; i < labels.count; ++i) {
    std::vector<double> y = ReferenceValues(data, labels, i);
    ReferenceHead(data.spec, y);
    const float* const row = logits.data() + i * classes;
    const double greatest = *std::max_element(row, row + classes);
    double sum = 0, expected = 0;
    for (uint64_t j = 0; j < classes; ++j) sum += std::exp((row[j] - greatest) / 4.0);
    for (uint64_t j = 0; j < classes; ++j) {
      const double log_p = (row[j] - greatest) / 4.0 - std::log(sum);
      expected -= y[j] * log_p;
      if (loss == kSoftpackLossKl && y[j] > 0) expected += y[j] * std::log(y[j]);
      deviation.Add(slope[i * classes + j], (std::exp(log_p) - y[j]) * 16.0 / 4.0);
    }
    worst_loss = std::max(worst_loss, std::fabs(found[i] - expected) / (1 + std::fabs(expected)));
  }
  const double bound = 4 * BoundOf(method, kSoftpackFloat32);
  Expect(worst_loss <= bound, name + ": losses deviate by " + std::to_string(worst_loss));
  Expect(classes == 1 || deviation.Relative() <= bound,
         name + ": the gradient deviates by " + std::to_string(deviation.Relative()));
}

// Losses of rounded logits are those of their values, and the gradient is rounded.
inline void CheckKlAs(uint32_t type, const std::string& name, const DecodeData& data,
                      const SoftpackLabels& labels, const Decoders& decoders, bool on_device,
                      bool in_place) {
  const uint64_t elements = labels.count * data.spec.classes;
  const bool half = type == kSoftpackFloat16;
  const auto round = [half](float value) {
    return half ? FloatToHalf(value) : scalar::FloatToBfloat(value);
  };
  Random random(6);
  std::vector<uint16_t> rounded;
  std::vector<float> logits;
  for (const float logit : random.Floats(elements)) {
    rounded.push_back(round(3 * logit));
    logits.push_back(
        static_cast<float>(half ? FromHalf(rounded.back()) : FromBfloat(rounded.back())));
  }
  Array<float> logits_there(logits, on_device), losses(Poisoned<float>(labels.count), on_device),
      gradient(Poisoned<float>(elements), on_device);
  const LabelArrays there(labels, on_device);
  SoftpackDecodeKlArgs args{
      there.get(), logits_there.get(), losses.get(), gradient.get(), 4.0f, 16.0f, 0, 1};
  Expect(cuda->decode_kl(decoders.on_cuda, &args) == kSoftpackOk, name);
  Array<uint16_t> own_logits(rounded, on_device),
      own_gradient(Poisoned<uint16_t>(elements), on_device);
  Array<float> own_losses(Poisoned<float>(labels.count), on_device);
  args.logits = reinterpret_cast<const float*>(own_logits.get());
  args.gradient = reinterpret_cast<float*>(in_place ? own_logits.get() : own_gradient.get());
  args.losses = own_losses.get();
  const int status = module->decode_kl_as(decoders.on_cuda, &args, type);
  Expect(status == kSoftpackOk, name + " " + Reason(status));
  Expect(Same(losses.Read(), own_losses.Read()), name + " gives the losses of its logits");
  std::vector<uint16_t> expected;
  for (const float slope : gradient.Read()) expected.push_back(round(slope));
  Expect(Same(in_place ? own_logits.Read() : own_gradient.Read(), expected),
         name + " rounds the gradient");
  Expect(module->decode_kl_as(decoders.on_cuda, &args, 3) == kSoftpackInvalidArgument,
         name + ": another type is told");
}

inline void CheckWrongLabels(const std::string& name, DecodeData& data, const Decoders& decoders,
                             bool on_device) {
  const uint64_t classes = data.spec.classes;
  const auto decode = [&](const SoftpackLabels& labels) {
    Array<float> out(Poisoned<float>(labels.count * classes), on_device);
    const LabelArrays there(labels, on_device);
    const SoftpackDecodeArgs args{there.get(), out.get(), kSoftpackFloat32, 1};
    return cuda->decode(decoders.on_cuda, &args);
  };
  SoftpackLabels labels = data.Labels(1, false);
  labels.first = data.codes.size() * 8 / (data.spec.stages * data.spec.bits);
  Expect(decode(labels) == kSoftpackInvalidArgument, name + ": a label beyond the codes is told");
  labels.first = ~uint64_t{0};
  Expect(decode(labels) == kSoftpackInvalidArgument, name + ": a label far beyond them is told");
  const uint32_t beyond = 1u << 31;
  labels.list = &beyond;
  Expect(decode(labels) == kSoftpackInvalidArgument, name + ": a listed one beyond them is told");
  if (data.spec.bases != nullptr) {
    labels = data.Labels(1, false);
    const std::vector<uint32_t> pairs = {0, static_cast<uint32_t>(data.spec.base_rows)};
    labels.base_pairs = pairs.data();
    Expect(decode(labels) == kSoftpackInvalidArgument, name + ": a base beyond the bases is told");
  }
  if (data.spec.levels < uint64_t{1} << data.spec.bits) {
    labels = data.Labels(1, false);
    std::vector<uint8_t> codes = data.codes;
    const uint64_t bit = (3 * data.spec.stages + data.spec.stages - 1) * data.spec.bits;
    WriteIndex(codes.data(), bit, data.spec.bits, static_cast<uint16_t>(data.spec.levels));
    labels.codes = codes.data();
    Expect(decode(labels) == kSoftpackInvalidCodes, name + ": a wrong index is told");
    Expect(decode(data.Labels(1, false)) == kSoftpackOk, name + ": and the next call is in order");
  }
}

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_DECODE_RESULTS_H_
