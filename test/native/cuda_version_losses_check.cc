#include "cuda_decode_results.h"
#include "cuda_versions.h"
#include "cuda_versions_check.h"

namespace softpack {
namespace testing {
namespace {

constexpr float kTau = 4.0f, kScale = 16.0f;

enum class Gradient { kNone, kOwn, kInPlace };

struct LossCase {
  DecodeCase shape;
  uint64_t count;
  uint32_t head;
};
// Fours of classes, all of them and of the last sixteen; tiles of 256 classes and 128 labels.
constexpr LossCase kBriefLosses[] = {
    {{"7 classes", 7, 2, 3, 11, 4, true, 0, true}, 7, kSoftpackHeadSoftmax},
    {{"264 classes", 264, 1, 5, 9, 4, true, 0, true}, 3, kSoftpackHeadClamp},
};
constexpr LossCase kAllLosses[] = {
    {{"one class", 1, 1, 1, 2, 1, true, 0, true}, 1, kSoftpackHeadClamp},
    {{"one class", 1, 1, 1, 2, 1, true, 0, true}, 129, kSoftpackHeadSoftmax},
    {{"7 classes", 7, 2, 3, 11, 4, true, 0, true}, 257, kSoftpackHeadClamp},
    {{"999 classes", 999, 2, 5, 16, 4, true, 0, true}, 1, kSoftpackHeadSoftmax},
    {{"999 classes", 999, 2, 5, 16, 4, true, 0, true}, 129, kSoftpackHeadClamp},
    {{"1000 classes", 1000, 3, 4, 16, 4, true, 0, true}, 127, kSoftpackHeadSoftmax},
    {{"1000 classes", 1000, 14, 5, 16, 4, true, 0, true}, 257, kSoftpackHeadClamp},
    {{"1001 classes", 1001, 1, 9, 16, 4, true, 0, true}, 127, kSoftpackHeadClamp},
    {{"1024 classes", 1024, 2, 4, 16, 4, true, 0, true}, 129, kSoftpackHeadSoftmax},
    {{"no label", 1024, 2, 4, 16, 4, true, 0, true}, 0, kSoftpackHeadClamp},
    // Of the emulation's two clusters each has two pairs of tiles, the last one's second is empty.
    {{"pairs of tiles", 20, 2, 4, 16, 4, true, 0, true}, 1153, kSoftpackHeadClamp},
};

// Losses and gradient of one call.
template <class T>
struct Found {
  std::vector<float> losses;
  std::vector<T> gradient;
};

// `offset` elements lie before logits and gradient, so that rows are not aligned.
struct Way {
  uint32_t type;
  Gradient gradient;
  bool entropy;
  uint64_t offset;
};

template <class T>
Found<T> Run(const std::string& name, const SoftpackDecoder* decoder, const SoftpackLabels& labels,
             const std::vector<T>& logits, const Way& way) {
  const auto behind = [&](const std::vector<T>& values) {
    std::vector<T> longer(way.offset + values.size());
    std::copy(values.begin(), values.end(),
              longer.begin() + static_cast<std::ptrdiff_t>(way.offset));
    return longer;
  };
  const LabelArrays there(labels, true);
  Array<T> logits_there(behind(logits), true);
  Array<T> own(behind(Poisoned<T>(logits.size())), true);
  Array<float> losses(Poisoned<float>(labels.count), true);
  const auto place = [&](Array<T>& array) {
    return reinterpret_cast<float*>(array.get() + way.offset);
  };
  SoftpackDecodeKlArgs args{there.get(),
                            place(logits_there),
                            losses.get(),
                            way.gradient == Gradient::kNone  ? nullptr
                            : way.gradient == Gradient::kOwn ? place(own)
                                                             : place(logits_there),
                            kTau,
                            kScale,
                            way.entropy ? kSoftpackLossKl : kSoftpackLossCrossEntropy,
                            1};
  const int status = module->decode_kl_as(decoder, &args, way.type);
  Expect(status == kSoftpackOk, name + " " + Reason(status));
  Found<T> found{losses.Read(), (way.gradient == Gradient::kInPlace ? logits_there : own).Read()};
  found.gradient.erase(found.gradient.begin(),
                       found.gradient.begin() + static_cast<std::ptrdiff_t>(way.offset));
  return found;
}

// Losses and gradient of a label in float64.
struct Expected {
  double loss = 0;
  std::vector<double> gradient;
};
Expected Reference(const DecodeData& data, const SoftpackLabels& labels, uint64_t label,
                   const std::vector<double>& logits, bool entropy) {
  std::vector<double> y = ReferenceValues(data, labels, label);
  ReferenceHead(data.spec, y);
  const double greatest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) sum += std::exp((logit - greatest) / kTau);
  Expected expected;
  for (uint64_t j = 0; j < y.size(); ++j) {
    const double log_p = (logits[j] - greatest) / kTau - std::log(sum);
    expected.loss -= y[j] * log_p;
    if (entropy && y[j] > 0) expected.loss += y[j] * std::log(y[j]);
    expected.gradient.push_back((std::exp(log_p) - y[j]) * kScale / kTau);
  }
  return expected;
}

template <class T>
std::vector<T> LogitsOf(uint32_t type, uint64_t count) {
  Random random(7);
  std::vector<T> logits;
  for (const float logit : random.Floats(count)) {
    if constexpr (sizeof(T) == 4)
      logits.push_back(3 * logit);
    else
      logits.push_back(type == kSoftpackFloat16 ? FloatToHalf(3 * logit)
                                                : scalar::FloatToBfloat(3 * logit));
  }
  return logits;
}

template <class T>
void CheckWay(const std::string& name, const DecodeData& data, const SoftpackLabels& labels,
              const Versions& versions, const Way& way, bool against_one) {
  const uint64_t classes = data.spec.classes;
  const std::vector<T> logits = LogitsOf<T>(way.type, labels.count * classes);
  const Found<T> found = Run(name, versions.two, labels, logits, way);
  const Found<T> again = Run(name, versions.two, labels, logits, way);
  Expect(Same(found.losses, again.losses) && Same(found.gradient, again.gradient),
         name + " gives the same bytes twice");
  const Found<T> one = against_one ? Run(name, versions.one, labels, logits, way) : Found<T>();
  Deviation from_one, from_reference;
  double worst = 0, worst_from_one = 0;
  for (uint64_t i = 0; i < labels.count; ++i) {
    std::vector<double> row;
    for (uint64_t j = 0; j < classes; ++j) {
      row.push_back(OfType(logits[i * classes + j], way.type));
    }
    const Expected expected = Reference(data, labels, i, row, way.entropy);
    const double size = 1 + std::fabs(expected.loss);
    worst = std::max(worst, std::fabs(found.losses[i] - expected.loss) / size);
    if (against_one) {
      const double difference = static_cast<double>(found.losses[i]) - one.losses[i];
      worst_from_one = std::max(worst_from_one, std::fabs(difference) / size);
    }
    for (uint64_t j = 0; way.gradient != Gradient::kNone && j < classes; ++j) {
      const uint64_t at = i * classes + j;
      const double slope = OfType(found.gradient[at], way.type);
      from_reference.Add(slope, expected.gradient[j]);
      if (against_one) from_one.Add(slope, OfType(one.gradient[at], way.type));
    }
  }
  if (way.gradient == Gradient::kNone) {
    Expect(Same(found.gradient, Poisoned<T>(logits.size())), name + " writes no gradient");
  }
  const double rounding = way.type == kSoftpackFloat32   ? 0
                          : way.type == kSoftpackFloat16 ? 1e-3
                                                         : 4e-3;
  Expect(worst <= kOrder, name + ": losses deviate from float64 by " + std::to_string(worst));
  Expect(worst_from_one <= kOrder,
         name + ": losses deviate from version 1 by " + std::to_string(worst_from_one));
  if (classes == 1) return;  // the gradient is 0
  Expect(from_reference.Relative() <= 2 * kOrder + rounding,
         name + ": the gradient deviates by " + std::to_string(from_reference.Relative()));
  Expect(from_one.Relative() <= 2 * kOrder + rounding,
         name + ": the gradient deviates from version 1 by " + std::to_string(from_one.Relative()));
}

// With all arrays on the device, which is not looked at.
uint64_t WorkingBytes(const SoftpackDecoder* decoder, const SoftpackLabels& labels) {
  float any = 0;
  const SoftpackDecodeKlArgs args{labels, &any, &any, &any, kTau, kScale, kSoftpackLossKl, 1};
  uint64_t bytes = 0;
  Expect(module->decode_kl_workspace_bytes(decoder, &args, &bytes) == kSoftpackOk,
         "working memory is counted");
  return bytes;
}

void CheckCase(const LossCase& one, uint32_t seed) {
  DecodeData data(one.shape, one.count, seed);
  RoundToBfloat(data);
  data.spec.method = kSoftpackMethodBfloat;
  data.spec.head = one.head;
  data.spec.head_parameter = one.head == kSoftpackHeadClamp ? 1e-3f : 2.0f;
  const std::string name = std::string("version 2, losses of ") + one.shape.name + ", " +
                           kHeadNames[one.head] + ", " + std::to_string(one.count) + " labels";
  const Versions versions(*cuda, kBfloatVersion, data.spec);
  Expect(versions.differ(), name + ": the version is used " + Reason(versions.status));
  if (!versions.differ()) return;
  const SoftpackLabels labels = data.Labels(one.count, seed % 2 == 0);
  Expect(one.count == 0 || WorkingBytes(versions.two, labels) < WorkingBytes(versions.one, labels),
         name + ": of losses too, which then work without latents");
  const bool odd = seed % 2 == 1;
  const auto way = [&](uint32_t type, Gradient gradient, bool entropy, uint64_t offset) {
    return Way{type, gradient, entropy, offset};
  };
  // Emulated, version 1 takes most of the time: few labels are held to it.
  const bool against_one = one.count <= 7;
  CheckWay<float>(name, data, labels, versions, way(kSoftpackFloat32, Gradient::kOwn, true, 0),
                  against_one);
  CheckWay<uint16_t>(name + " bf16 in place", data, labels, versions,
                     way(kSoftpackBfloat16, Gradient::kInPlace, odd, 0), against_one);
  if (brief) return;
  CheckWay<uint16_t>(name + " f16", data, labels, versions,
                     way(kSoftpackFloat16, odd ? Gradient::kOwn : Gradient::kInPlace, !odd, 0),
                     against_one);
  CheckWay<float>(name + " alone", data, labels, versions,
                  way(kSoftpackFloat32, Gradient::kNone, odd, 0), against_one);
  CheckWay<float>(name + " in place, off", data, labels, versions,
                  way(kSoftpackFloat32, Gradient::kInPlace, false, 1), against_one);
  CheckWay<uint16_t>(name + " bf16 off", data, labels, versions,
                     way(kSoftpackBfloat16, Gradient::kOwn, true, 3), against_one);
}

// Logits that are no numbers, masked or far apart: as version 1, NaN for NaN.
void CheckOddLogits(uint64_t classes, uint32_t head) {
  const DecodeCase shape = {"odd logits", classes, 2, 3, 11, 4, true, 0, true};
  using Change = void (*)(std::vector<float>&);
  const Change changes[] = {
      [](std::vector<float>& row) { row[row.size() / 2] = NAN; },
      [](std::vector<float>& row) { row[0] = INFINITY; },
      [](std::vector<float>& row) { row.back() = INFINITY; },
      [](std::vector<float>& row) { row[row.size() / 3] = -INFINITY; },
      [](std::vector<float>& row) { std::fill(row.begin(), row.end(), -INFINITY); },
      [](std::vector<float>& row) { std::fill(row.begin(), row.end(), NAN); },
      // All but one are masked, by the least of all floats and by less.
      [](std::vector<float>& row) { std::fill(row.begin() + 1, row.end(), -3.4028235e38f); },
      [](std::vector<float>& row) { std::fill(row.begin(), row.end() - 1, -1e9f); },
      [](std::vector<float>& row) { std::fill(row.begin(), row.end(), -3.4028235e38f); },
      // Each four exceeds those before by more than the last: references rise.
      [](std::vector<float>& row) {
        for (uint64_t j = 0; j < row.size(); ++j) row[j] += 2.0f * static_cast<float>(j);
      },
      [](std::vector<float>& row) {
        for (uint64_t j = 0; j < row.size(); ++j) row[j] = row[j] * 300 - static_cast<float>(j);
      },
      [](std::vector<float>& row) {
        for (float& logit : row) logit += 5000;
      },
  };
  const uint64_t count = std::size(changes);
  DecodeData data(shape, count, 11);
  RoundToBfloat(data);
  data.spec.method = kSoftpackMethodBfloat;
  data.spec.head = head;
  data.spec.head_parameter = head == kSoftpackHeadClamp ? 1e-3f : 2.0f;
  const Versions versions(*cuda, kBfloatVersion, data.spec);
  Expect(versions.differ(), "odd logits by two versions " + Reason(versions.status));
  if (!versions.differ()) return;
  const SoftpackLabels labels = data.Labels(count, false);
  std::vector<float> logits;
  Random random(8);
  for (const Change change : changes) {
    std::vector<float> row = random.Floats(classes);
    change(row);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  for (const bool entropy : {false, true}) {
    const Way way = {kSoftpackFloat32, Gradient::kOwn, entropy, 0};
    const Found<float> two = Run("odd logits", versions.two, labels, logits, way);
    const Found<float> one = Run("odd logits", versions.one, labels, logits, way);
    const auto same = [](float a, float b, double unit) {
      if (std::isnan(b)) return std::isnan(a);
      if (std::isinf(b)) return a == b;
      return std::fabs(static_cast<double>(a) - b) <= 2 * kOrder * (unit + std::fabs(b));
    };
    for (uint64_t i = 0; i < count; ++i) {
      const std::string name = "version 2, row " + std::to_string(i) + " of odd logits, " +
                               kHeadNames[head] + ", " + std::to_string(classes) + " classes";
      Expect(same(two.losses[i], one.losses[i], 1), name + ": a loss of " +
                                                        std::to_string(two.losses[i]) + ", not " +
                                                        std::to_string(one.losses[i]));
      uint64_t wrong = 0;
      for (uint64_t at = i * classes; at < (i + 1) * classes; ++at) {
        if (!same(two.gradient[at], one.gradient[at], kScale / kTau)) ++wrong;
      }
      Expect(wrong == 0, name + ": " + std::to_string(wrong) + " slopes deviate");
    }
  }
}

}  // namespace

void CheckVersionLosses() {
  uint32_t seed = 600;
  for (const LossCase& one : kBriefLosses) CheckCase(one, ++seed);
  CheckOddLogits(26, kSoftpackHeadClamp);
  if (brief) return;
  for (const LossCase& one : kAllLosses) CheckCase(one, ++seed);
  CheckOddLogits(300, kSoftpackHeadSoftmax);
}

}  // namespace testing
}  // namespace softpack
