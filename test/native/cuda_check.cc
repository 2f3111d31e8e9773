// Checks a CUDA module without Node.js: replays the cases of cases.h on the CPU backend and on the
// module, from host memory and from device memory.
//   native_cuda_check <module> [--brief | --time <file.json> [labels]]
// If a backend promises the CPU's bytes, bytes are compared; every result is also compared with a
// float64 reference. Exit code 0 if all checks pass, 1 if not, 3 if the module finds no device.
// --brief runs the cases that reach every kernel once, for sanitizers. --time continues, if all
// checks pass, with the measurements of cuda_timing.h.
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "cases.h"
#include "core/device_module.h"
#include "core/half.h"
#include "core/scalar_math.h"
#include "cpu/cpu_backend.h"
#include "cuda_harness.h"
#include "cuda_timing.h"
#include "cuda_tokens_check.h"
#include "cuda_transform_check.h"

namespace softpack {
namespace testing {
namespace {

void CheckProject(bool on_device) {
  Random random(1);
  for (const auto& [rows, inner, columns] : kProducts) {
    if (brief && rows != 130) continue;
    for (uint32_t flags = 0; flags < 8; ++flags) {
      const std::string name = "project " + std::to_string(rows) + "x" + std::to_string(inner) +
                               "x" + std::to_string(columns) + " flags " + std::to_string(flags) +
                               (on_device ? " on the device" : "");
      const auto a = random.Floats(rows * inner), b = random.Floats(inner * columns);
      const auto before = random.Floats(rows * columns);
      auto expected = before;
      SoftpackProjectArgs args{a.data(), b.data(),  expected.data(), rows,           inner,
                               columns,  flags & 1, flags >> 1 & 1,  flags >> 2 & 1, 1};
      cpu->project(&args);
      Array<float> a_there(a, on_device), b_there(b, on_device);
      Array<float> out(args.accumulate ? before : Poisoned<float>(before.size()), on_device);
      args.a = a_there.get();
      args.b = b_there.get();
      args.out = out.get();
      const int status = cuda->project(&args);
      Expect(status == kSoftpackOk, name + " " + Reason(status));
      const auto found = out.Read();
      Expect(Same(found, expected), name + " gives the CPU's bytes");
      double worst = 0;
      for (uint64_t i = 0; i < rows; ++i) {
        for (uint64_t j = 0; j < columns; ++j) {
          double sum = args.accumulate ? before[i * columns + j] : 0, size = std::fabs(sum);
          for (uint64_t k = 0; k < inner; ++k) {
            const double left = a[args.transpose_a ? k * rows + i : i * inner + k];
            const double right = b[args.transpose_b ? j * inner + k : k * columns + j];
            sum += left * right;
            size += std::fabs(left * right);
          }
          const double bound = static_cast<double>(inner + 1) * 0x1p-24 * size;
          worst = std::max(worst, std::fabs(found[i * columns + j] - sum) - bound);
        }
      }
      Expect(worst <= 0, name + " is within its bound of float64");
    }
  }
}

void CheckNearest(bool on_device) {
  Random random(2);
  for (const auto& [count, width, levels] : kNearest) {
    if (brief && count != 129) continue;
    const std::string name = "nearest " + std::to_string(count) + " of width " +
                             std::to_string(width) + " among " + std::to_string(levels);
    const auto vectors = random.Floats(count * width);
    auto codebook = random.Floats(levels * width);
    // Of equal codewords the first must win.
    for (uint64_t level = levels / 2; level < levels; ++level) {
      std::copy_n(codebook.data() + (level - levels / 2) * width, width,
                  codebook.data() + level * width);
    }
    auto expected = Poisoned<uint16_t>(count);
    SoftpackNearestArgs args{
        vectors.data(), codebook.data(), expected.data(), count, width, levels, 1};
    cpu->nearest(&args);
    Array<float> vectors_there(vectors, on_device), codebook_there(codebook, on_device);
    Array<uint16_t> out(Poisoned<uint16_t>(count), on_device);
    args.vectors = vectors_there.get();
    args.codebook = codebook_there.get();
    args.out = out.get();
    const int status = cuda->nearest(&args);
    Expect(status == kSoftpackOk, name + " " + Reason(status));
    const auto found = out.Read();
    Expect(Same(found, expected), name + " gives the CPU's indices");
    for (uint64_t i = 0; i < count; ++i) {
      double least = INFINITY, chosen = INFINITY;
      uint64_t best = 0;
      for (uint64_t level = 0; level < levels; ++level) {
        double distance = 0;
        for (uint64_t d = 0; d < width; ++d) {
          const double apart =
              static_cast<double>(vectors[i * width + d]) - codebook[level * width + d];
          distance += apart * apart;
        }
        if (level == found[i]) chosen = distance;
        if (distance < least) best = level;
        least = std::min(least, distance);
      }
      Expect(chosen <= least * (1 + 1e-5) + 1e-6, name + ": the nearest in float64, or as near");
      Expect(best == found[i] || found[i] < levels / 2 || levels < 2,
             name + ": the first of equals");
    }
  }
  // No score below infinity: index 0.
  const std::vector<float> vectors = {NAN, 1.0f}, codebook = {1.0f, INFINITY, -INFINITY};
  Array<float> vectors_there(vectors, on_device), codebook_there(codebook, on_device);
  Array<uint16_t> out(Poisoned<uint16_t>(2), on_device);
  const SoftpackNearestArgs args{vectors_there.get(), codebook_there.get(), out.get(), 2, 1, 3, 1};
  Expect(cuda->nearest(&args) == kSoftpackOk, "nearest of NaN");
  Expect(out.Read() == std::vector<uint16_t>({0, 0}), "nearest of NaN is 0");
}

// Vectors equally far from two codewords, except for differences between those that bfloat16 parts
// resolve and those that float32 does not; nearly equal codewords; sizes whose squares underflow or
// overflow; and vectors for which no distance is defined.
void CheckNearTies(bool on_device) {
  constexpr uint64_t kCount = 257, kWidth = 20, kLevels = 640, kApart = 512;
  Random random(8);
  for (const float size : {1.0f, 1e-21f, 1e-30f, 1e18f}) {
    if (brief && size != 1.0f) continue;
    auto vectors = random.Floats(kCount * kWidth), codebook = random.Floats(kLevels * kWidth);
    for (float& value : vectors) value *= size;
    for (float& value : codebook) value *= size;
    for (uint64_t level = kApart; level < kLevels; ++level) {
      const uint64_t like = level * 97 % kApart;
      std::copy_n(codebook.data() + like * kWidth, kWidth, codebook.data() + level * kWidth);
      // From 2^-2 to 2^-25 of it, in some place.
      float& moved = codebook[level * kWidth + level % kWidth];
      moved += std::ldexp(moved, -2 - static_cast<int>(level % 24));
    }
    for (uint64_t i = 8; i < kCount; ++i) {
      const float off = std::ldexp(i % 2 == 0 ? 1.0f : -1.0f, -4 - static_cast<int>(i % 20));
      for (uint64_t d = 0; d < kWidth; ++d) {
        const float one = codebook[i * kWidth + d], other = codebook[(kApart - i) * kWidth + d];
        vectors[i * kWidth + d] = (0.5f + off) * one + (0.5f - off) * other;
      }
    }
    vectors[3 * kWidth + 1] = NAN;
    vectors[5 * kWidth + 7] = -INFINITY;
    vectors[7 * kWidth] = 3e38f;
    for (const bool bad : {false, true}) {
      if (brief && (bad || !on_device)) continue;
      if (bad) codebook[5 * kWidth + 3] = NAN, codebook[9 * kWidth] = INFINITY;
      auto expected = Poisoned<uint16_t>(kCount);
      SoftpackNearestArgs args{
          vectors.data(), codebook.data(), expected.data(), kCount, kWidth, kLevels, 1};
      cpu->nearest(&args);
      Array<float> vectors_there(vectors, on_device), codebook_there(codebook, on_device);
      Array<uint16_t> out(Poisoned<uint16_t>(kCount), on_device);
      args.vectors = vectors_there.get();
      args.codebook = codebook_there.get();
      args.out = out.get();
      const std::string name = "nearest of near ties at size " + std::to_string(size);
      Expect(cuda->nearest(&args) == kSoftpackOk, name);
      Expect(Same(out.Read(), expected), name + " gives the CPU's indices");
    }
  }
}

void CheckEncode(bool on_device) {
  Random random(3);
  for (const EncodeCase& shape : kEncodes) {
    if (brief && shape.count != 17) continue;
    const std::string name = "encode " + std::to_string(shape.count) + " labels of " +
                             std::to_string(shape.classes) + " classes";
    const uint64_t latent = shape.segments * shape.width;
    const auto labels = random.Floats(shape.count * shape.classes);
    const auto projection = random.Floats(shape.classes * latent);
    const auto codebook = random.Floats(shape.levels * shape.width);
    uint32_t bits = 1;
    while ((uint64_t{1} << bits) < shape.levels) ++bits;
    const SoftpackEncoderSpec spec{projection.data(), codebook.data(), shape.classes, latent,
                                   shape.width,       shape.levels,    bits};
    SoftpackEncoder *on_cpu = nullptr, *on_cuda = nullptr;
    Expect(cpu->encoder_create(&spec, &on_cpu) == kSoftpackOk, name);
    const int status = cuda->encoder_create(&spec, &on_cuda);
    Expect(status == kSoftpackOk, name + " " + Reason(status));
    if (status != kSoftpackOk) return;
    auto expected = Poisoned<uint8_t>((shape.count * shape.segments * bits + 7) / 8);
    SoftpackEncodeArgs args{labels.data(), expected.data(), shape.count, 1};
    cpu->encode(on_cpu, &args);
    Array<float> labels_there(labels, on_device);
    Array<uint8_t> out(Poisoned<uint8_t>(expected.size()), on_device);
    args.labels = labels_there.get();
    args.out = out.get();
    Expect(cuda->encode(on_cuda, &args) == kSoftpackOk, name);
    Expect(Same(out.Read(), expected), name + " gives the CPU's codes");
    cpu->encoder_destroy(on_cpu);
    cuda->encoder_destroy(on_cuda);
  }
}

const char* const kMethodNames[] = {"auto", "latent", "table", "fixed", "bfloat", "split"};
const char* const kHeadNames[] = {"identity", "clamp", "softmax"};

float FromHalf(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double size =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>(bits & 0x8000 ? -size : size);
}

float FromBfloat(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
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
double BoundOf(uint32_t method, uint32_t type) {
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
void CheckDecodeInto(uint32_t type, const std::string& name, const DecodeData& data,
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

void CheckKl(const std::string& name, const DecodeData& data, const SoftpackLabels& labels,
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
void CheckKlAs(uint32_t type, const std::string& name, const DecodeData& data,
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

void CheckWrongLabels(const std::string& name, DecodeData& data, const Decoders& decoders,
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

void CheckDecoder(bool on_device) {
  uint32_t seed = 100;
  for (const DecodeCase& shape : kDecodes) {
    if (brief && shape.bases == 0) continue;
    const uint64_t count = kCounts[seed % 4];
    const uint64_t most = brief ? 7 : 97;
    const uint32_t head = seed % 3;
    const uint32_t loss = seed / 3 % 2;
    for (uint32_t method = kSoftpackMethodLatent; method <= kSoftpackMethodSplit; ++method) {
      for (const uint64_t labels_count : {most, count}) {
        if (brief && labels_count != most) continue;
        DecodeData data(shape, labels_count, ++seed);
        data.spec.head = labels_count == most ? head : (head + 1) % 3;
        data.spec.head_parameter = data.spec.head == kSoftpackHeadClamp ? 1e-3f : 2.0f;
        data.spec.method = method;
        const bool listed = seed % 2 == 0;
        // Emulated tensor cores are slow: one location of the arrays is enough.
        if (method >= kSoftpackMethodBfloat && emulated && (on_device || labels_count != most))
          continue;
        const std::string name = std::string(shape.name) + ", " + kMethodNames[method] + ", " +
                                 kHeadNames[data.spec.head] + ", " + std::to_string(labels_count) +
                                 (listed ? " listed" : " labels") + (on_device ? " there" : "");
        Decoders decoders;
        const int status = cuda->decoder_create(&data.spec, &decoders.on_cuda);
        if (status == kSoftpackUnsupportedMethod) continue;  // told by CheckMethods
        Expect(status == kSoftpackOk, name + " " + Reason(status));
        if (status != kSoftpackOk) continue;
        if (method <= kSoftpackMethodFixed) {
          Expect(cpu->decoder_create(&data.spec, &decoders.on_cpu) == kSoftpackOk, name);
        }
        const SoftpackLabels labels = data.Labels(labels_count, listed);
        CheckDecodeInto<float>(kSoftpackFloat32, name, data, labels, decoders, method, on_device);
        // The code after the product is the same for every method.
        if (method >= kSoftpackMethodBfloat && labels_count != most) continue;
        CheckDecodeInto<uint16_t>(kSoftpackFloat16, name + " f16", data, labels, decoders, method,
                                  on_device);
        CheckDecodeInto<uint16_t>(kSoftpackBfloat16, name + " bf16", data, labels, decoders, method,
                                  on_device);
        if (data.spec.head != kSoftpackHeadIdentity) {
          CheckKl(name + " loss", data, labels, decoders, method, loss, on_device, false);
          CheckKl(name + " loss in place", data, labels, decoders, method, 1 - loss, on_device,
                  true);
          if (labels_count == most) {
            CheckKlAs(kSoftpackFloat16, name + " loss f16", data, labels, decoders, on_device,
                      loss == 0);
            CheckKlAs(kSoftpackBfloat16, name + " loss bf16", data, labels, decoders, on_device,
                      loss == 1);
          }
        }
        if (labels_count == most) CheckWrongLabels(name, data, decoders, on_device);
      }
    }
  }
}

// Enough labels for the methods that only pay for many.
void CheckManyLabels(bool on_device) {
  uint32_t seed = 200;
  for (const DecodeCase& shape : kManyLabels) {
    const uint64_t count = kManyCounts[++seed % 4];
    if (brief && shape.classes != 7 && shape.classes != 33) continue;
    // Emulated threads are slow: one location of the arrays is enough.
    if (emulated && on_device) continue;
    DecodeData data(shape, count, seed);
    data.spec.head = seed % 5 == 0 ? kSoftpackHeadIdentity : kSoftpackHeadClamp;
    data.spec.head_parameter = 1e-2f;
    data.spec.method = kSoftpackMethodFixed;
    const std::string name = std::string(shape.name) + ", fixed, " + kHeadNames[data.spec.head] +
                             ", " + std::to_string(count) + " labels" + (on_device ? " there" : "");
    Decoders decoders;
    const int status = cuda->decoder_create(&data.spec, &decoders.on_cuda);
    Expect(status == kSoftpackOk, name + " " + Reason(status));
    Expect(cpu->decoder_create(&data.spec, &decoders.on_cpu) == kSoftpackOk, name);
    if (status != kSoftpackOk) continue;
    const SoftpackLabels labels = data.Labels(count, seed % 2 == 0);
    const auto decode = [&](auto element, uint32_t type, const char* suffix) {
      CheckDecodeInto<decltype(element)>(type, name + suffix, data, labels, decoders,
                                         data.spec.method, on_device);
    };
    decode(float{}, kSoftpackFloat32, "");
    if (brief) continue;
    decode(uint16_t{}, kSoftpackFloat16, " f16");
    decode(uint16_t{}, kSoftpackBfloat16, " bf16");
  }
}

// Several tiles of labels and of classes for the methods that multiply on tensor cores.
void CheckTiles() {
  const DecodeCase shape = {"several tiles", 190, 3, 5, 16, 4, true, brief ? 3u : 0u, true};
  const uint64_t count = brief ? 130 : 260;
  for (const uint32_t method : {kSoftpackMethodBfloat, kSoftpackMethodSplit}) {
    for (uint32_t head = kSoftpackHeadIdentity; head <= kSoftpackHeadSoftmax; ++head) {
      if (brief && head != kSoftpackHeadSoftmax) continue;
      DecodeData data(shape, count, 300 + head);
      data.spec.head = head;
      data.spec.head_parameter = head == kSoftpackHeadClamp ? 1e-3f : 2.0f;
      data.spec.method = method;
      Decoders decoders;
      const int status = cuda->decoder_create(&data.spec, &decoders.on_cuda);
      if (status == kSoftpackUnsupportedMethod) return;
      const std::string name =
          std::string(shape.name) + ", " + kMethodNames[method] + ", " + kHeadNames[head];
      Expect(status == kSoftpackOk, name + " " + Reason(status));
      if (status != kSoftpackOk) continue;
      const SoftpackLabels labels = data.Labels(count, false);
      CheckDecodeInto<float>(kSoftpackFloat32, name, data, labels, decoders, method, false);
      if (head == kSoftpackHeadIdentity) continue;
      CheckKl(name + " loss", data, labels, decoders, method, kSoftpackLossKl, false, true);
    }
  }
}

// Methods that run here; `auto` must choose the CPU's if bytes depend on it.
void CheckMethods() {
  DecodeData data(kDecodes[1], 5, 7);
  for (uint32_t method = kSoftpackMethodLatent; method <= kSoftpackMethodSplit; ++method) {
    data.spec.method = method;
    Decoders decoders;
    if (cuda->decoder_create(&data.spec, &decoders.on_cuda) == kSoftpackUnsupportedMethod) {
      Expect(method >= kSoftpackMethodBfloat, "every device decodes exactly");
      std::printf("skipped: %s (this device has no units for it)\n", kMethodNames[method]);
    }
  }
  data.spec.method = kSoftpackMethodAuto;
  for (const uint32_t precision : {kSoftpackPrecisionExact, kSoftpackPrecisionFast}) {
    data.spec.precision = precision;
    Decoders decoders;
    const int status = cuda->decoder_create(&data.spec, &decoders.on_cuda);
    Expect(status == kSoftpackOk, "auto " + Reason(status));
    cpu->decoder_create(&data.spec, &decoders.on_cpu);
    if (status != kSoftpackOk) continue;
    SoftpackDecoderInfo here = {}, there = {};
    cpu->decoder_info(decoders.on_cpu, &here);
    cuda->decoder_info(decoders.on_cuda, &there);
    Expect(here.method == there.method, "auto chooses the CPU's method");
  }
}

// More concurrent callers than there are lanes; each result must be as if alone.
void CheckThreads() {
  const int callers = brief ? 2 : 12;
  const DecodeCase& shape = kDecodes[2];
  DecodeData data(shape, 97, 11);
  data.spec.head = kSoftpackHeadSoftmax;
  data.spec.head_parameter = 2.0f;
  data.spec.method = kSoftpackMethodFixed;
  Decoders decoders;
  const int created = cuda->decoder_create(&data.spec, &decoders.on_cuda);
  Expect(created == kSoftpackOk, "decoder for threads " + Reason(created));
  if (created != kSoftpackOk) return;
  std::vector<float> expected(97 * shape.classes);
  SoftpackDecodeArgs args{data.Labels(97, true), expected.data(), kSoftpackFloat32, 1};
  Expect(cuda->decode(decoders.on_cuda, &args) == kSoftpackOk, "decode");
  std::vector<std::thread> threads;
  std::vector<int> same(callers, 1);
  for (int t = 0; t < callers; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 5; ++round) {
        std::vector<float> found(expected.size(), NAN);
        SoftpackDecodeArgs own = args;
        own.out = found.data();
        if (cuda->decode(decoders.on_cuda, &own) != kSoftpackOk || found != expected) same[t] = 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Expect(std::count(same.begin(), same.end(), 1) == callers,
         "callers at once do not disturb each other");
}

bool Open(const char* path) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return false;
  }
  const auto open =
      reinterpret_cast<SoftpackOpenModuleFunction>(dlsym(library, SOFTPACK_MODULE_SYMBOL));
  if (open == nullptr) {
    std::fprintf(stderr, "%s: no %s\n", path, SOFTPACK_MODULE_SYMBOL);
    return false;
  }
  module = open();
  cuda = module->backend;
  cpu = SoftpackCpuBackend();
  return module->module_version == SOFTPACK_MODULE_VERSION &&
         cuda->abi_version == SOFTPACK_ABI_VERSION;
}

int Run(const char* path, const char* timings, uint64_t labels) {
  if (!Open(path)) return 2;
  SoftpackDeviceInfo info = {};
  const int status = module->probe(&info);
  if (status != kSoftpackOk) {
    std::printf("no device: %s\n", Reason(status).c_str());
    return 3;
  }
  std::printf("device: %s, compute capability %u.%u, %u multiprocessors, %.1f GiB\n", info.name,
              info.capability_major, info.capability_minor, info.multiprocessors,
              static_cast<double>(info.memory_bytes) / (1 << 30));
  emulated = std::string(info.name).rfind("emulated", 0) == 0;
  CheckMethods();
  for (const bool on_device : {false, true}) {
    if (brief && on_device) continue;
    CheckProject(on_device);
    CheckNearest(on_device);
    CheckNearTies(on_device);
    CheckEncode(on_device);
    CheckDecoder(on_device);
    CheckManyLabels(on_device);
    CheckTransform(on_device);
    CheckTokens(on_device);
  }
  CheckTiles();
  CheckThreads();
  std::printf("%d checks, %d failed\n", checks, failures);
  if (failures > 0) return 1;
  return timings == nullptr || WriteTimings(*module, info, timings, labels) ? 0 : 1;
}

}  // namespace
}  // namespace testing
}  // namespace softpack

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr,
                 "usage: native_cuda_check <module> [--brief | --time <file.json> [labels]]\n");
    return 2;
  }
  softpack::testing::brief = argc > 2 && std::string(argv[2]) == "--brief";
  const bool timed = argc > 3 && std::string(argv[2]) == "--time";
  const uint64_t labels = argc > 4 ? std::strtoull(argv[4], nullptr, 10) : uint64_t{1} << 18;
  softpack::testing::brief |= timed && labels < 4096;
  return softpack::testing::Run(argv[1], timed ? argv[3] : nullptr, labels);
}
