#include "cuda_tokens_check.h"

#include <cmath>

#include "core/half.h"
#include "core/scalar_math.h"
#include "cuda_harness.h"
#include "cuda_tokens_data.h"

namespace softpack {
namespace testing {
namespace {

const char* const kTeacherNames[] = {"entries", "ghost", "hidden"};

constexpr TokenCase kTokens[] = {
    {Teacher::kWhole, 3, 1, 1, 1, 1.0f},        {Teacher::kWhole, 5, 300, 304, 7, 1.0f},
    {Teacher::kWhole, 4, 1000, 1000, 20, 2.5f}, {Teacher::kGhost, 6, 257, 260, 9, 1.0f},
    {Teacher::kHidden, 3, 70, 70, 5, 1.0f},     {Teacher::kHidden, 2, 300, 320, 33, 3.0f},
};

// The distance of a position and its slopes, by the definitions: an outcome for each token or, with
// a ghost, for each entry and one for all other tokens.
double Reference(const TokenCase& shape, const TokenData& data, uint64_t t, bool entropy,
                 const std::vector<double>& z, std::vector<double>* slopes) {
  const uint64_t vocabulary = shape.vocabulary;
  const auto softmax = [](std::vector<double> x) {
    const double most = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (double& value : x) sum += value = std::exp(value - most);
    for (double& value : x) value /= sum;
    return x;
  };
  std::vector<double> scaled = z;
  for (double& value : scaled) value /= shape.tau;
  const std::vector<double> q = softmax(scaled);
  std::vector<double> p(vocabulary, 0.0);
  double rest = 0, outside = 0;
  if (shape.teacher == Teacher::kHidden) {
    for (uint64_t j = 0; j < vocabulary; ++j) {
      for (uint64_t k = 0; k < shape.width; ++k) {
        p[j] += static_cast<double>(data.hidden[t * shape.width + k]) *
                data.head[j * shape.width + k] / shape.tau;
      }
    }
    p = softmax(p);
  } else {
    double sum = 0;
    for (uint64_t e = t * shape.width; e < (t + 1) * shape.width; ++e) {
      if (data.probabilities[e] == 0) continue;
      sum += p[static_cast<uint64_t>(data.ids[e])] =
          std::pow(static_cast<double>(data.probabilities[e]), 1 / shape.tau);
    }
    if (shape.teacher == Teacher::kWhole) {
      for (double& own : p) own /= sum;
    } else {
      rest = 1 - sum;
      for (uint64_t j = 0; j < vocabulary; ++j) outside += p[j] == 0 ? q[j] : 0;
    }
  }
  double value = rest > 0 ? rest * ((entropy ? std::log(rest) : 0) - std::log(outside)) : 0;
  slopes->assign(vocabulary, 0.0);
  for (uint64_t j = 0; j < vocabulary; ++j) {
    if (p[j] > 0) value += p[j] * ((entropy ? std::log(p[j]) : 0) - std::log(q[j]));
    const double tail = rest > 0 && p[j] == 0 ? q[j] * rest / outside : 0;
    (*slopes)[j] = (q[j] - p[j] - tail) / shape.tau;
  }
  return value;
}

// The reference's own slopes are those of its values.
void CheckSlopes(const TokenCase& shape, const TokenData& data, const std::string& name) {
  std::vector<double> z(data.logits.begin(),
                        data.logits.begin() + static_cast<int64_t>(shape.vocabulary));
  std::vector<double> slopes, unused;
  Reference(shape, data, 0, true, z, &slopes);
  constexpr double kStep = 1e-4;
  for (uint64_t j = 0; j < shape.vocabulary; j += 1 + shape.vocabulary / 40) {
    auto up = z, down = z;
    up[j] += kStep;
    down[j] -= kStep;
    const double difference = Reference(shape, data, 0, true, up, &unused) -
                              Reference(shape, data, 0, true, down, &unused);
    Expect(std::fabs(difference / (2 * kStep) - slopes[j]) < 1e-6, name + ": finite differences");
  }
}

struct TokenArrays {
  Array<int32_t> ids;
  Array<float> probabilities, hidden, head;
  Array<uint8_t> counts;
  SoftpackTokenLabels labels = {};

  TokenArrays(const TokenCase& shape, const TokenData& data, bool on_device)
      : ids(data.ids, on_device),
        probabilities(data.probabilities, on_device),
        hidden(data.hidden, on_device),
        head(data.head, on_device),
        counts(data.counts, on_device) {
    labels.ids = ids.get();
    labels.probabilities = probabilities.get();
    labels.tail = shape.teacher == Teacher::kGhost ? kSoftpackTailGhost : kSoftpackTailNone;
    if (shape.teacher == Teacher::kHidden) {
      labels.hidden = hidden.get();
      labels.head = head.get();
    }
    labels.width = shape.width;
    labels.counts = counts.get();
    labels.vocabulary = shape.vocabulary;
    labels.columns = shape.columns;
  }
};

constexpr float kScale = 16.0f;

// `round`: to the type of the logits and back.
template <class T, class Round, class Widen>
void CheckKl(const TokenCase& shape, const TokenData& data, uint32_t type, bool on_device,
             bool in_place, const Round& round, const Widen& widen) {
  const bool entropy = in_place;
  const std::string name = std::string("tokens by ") +
                           kTeacherNames[static_cast<int>(shape.teacher)] + ", " +
                           std::to_string(shape.vocabulary) + ", type " + std::to_string(type) +
                           (in_place ? " in place" : "") + (on_device ? " there" : "");
  std::vector<T> rounded;
  for (const float logit : data.logits) rounded.push_back(round(logit));
  TokenArrays there(shape, data, on_device);
  Array<T> logits(rounded, on_device), gradient(Poisoned<T>(rounded.size()), on_device);
  Array<float> losses(Poisoned<float>(shape.positions), on_device);
  SoftpackDecodeKlArgs args = {};
  args.labels.count = shape.positions;
  args.logits = reinterpret_cast<const float*>(logits.get());
  args.gradient = reinterpret_cast<float*>(in_place ? logits.get() : gradient.get());
  args.losses = losses.get();
  args.tau = shape.tau;
  args.scale = kScale;
  args.loss = entropy ? kSoftpackLossKl : kSoftpackLossCrossEntropy;
  args.threads = 1;
  const int status = module->token_kl(&there.labels, &args, type);
  Expect(status == kSoftpackOk, name + " " + Reason(status));
  const auto found = losses.Read();
  const auto slopes = in_place ? logits.Read() : gradient.Read();
  double worst = 0, worst_slope = 0;
  for (uint64_t t = 0; t < shape.positions; ++t) {
    std::vector<double> z, expected;
    for (uint64_t j = 0; j < shape.vocabulary; ++j) {
      z.push_back(static_cast<double>(widen(rounded[t * shape.columns + j])));
    }
    double value = Reference(shape, data, t, entropy, z, &expected);
    expected.resize(shape.columns);
    if (data.counts[t] == 0) {
      value = 0;
      expected.assign(shape.columns, 0.0);
    }
    worst = std::max(worst, std::fabs(found[t] - value) / (1 + std::fabs(value)));
    for (uint64_t j = 0; j < shape.columns; ++j) {
      const double slope = static_cast<double>(widen(slopes[t * shape.columns + j])) / kScale;
      const double unit = type == kSoftpackFloat32   ? 0
                          : type == kSoftpackFloat16 ? 0x1p-11
                                                     : 0x1p-8;
      const double bound = 4e-6 + unit * std::fabs(expected[j]);
      worst_slope = std::max(worst_slope, std::fabs(slope - expected[j]) / bound);
    }
  }
  Expect(worst < 4e-6, name + ": losses deviate by " + std::to_string(worst));
  Expect(worst_slope <= 1,
         name + ": slopes deviate by bounds times " + std::to_string(worst_slope));
}

void CheckWrongTokens(bool on_device) {
  const TokenCase& shape = kTokens[3];
  const auto run = [&](const TokenData& data, const auto& change) {
    TokenArrays there(shape, data, on_device);
    change(there.labels);
    Array<float> logits(data.logits, on_device),
        gradient(Poisoned<float>(data.logits.size()), on_device);
    SoftpackDecodeKlArgs args = {};
    args.labels.count = shape.positions;
    args.logits = logits.get();
    args.gradient = gradient.get();
    args.tau = args.scale = 1;
    const int status = module->token_kl(&there.labels, &args, kSoftpackFloat32);
    gradient.Read();
    return status;
  };
  const auto as_it_is = [](SoftpackTokenLabels&) {};
  const TokenData data(shape, 9);
  Expect(run(data, as_it_is) == kSoftpackOk, "tokens in order");
  const auto told = [&](const TokenData& wrong, const char* what) {
    Expect(run(wrong, as_it_is) == kSoftpackInvalidArgument, std::string("tokens: ") + what);
  };
  for (const int32_t id : {-1, static_cast<int32_t>(shape.vocabulary), INT32_MAX, INT32_MIN}) {
    TokenData wrong = data;
    wrong.ids[2] = id;
    told(wrong, "an id beyond the vocabulary is told");
  }
  for (const float p : {-0.1f, 1.5f, NAN, INFINITY}) {
    TokenData wrong = data;
    wrong.probabilities[2] = p;
    told(wrong, "what is no probability is told");
  }
  TokenData heavy = data;
  heavy.probabilities[0] = heavy.probabilities[1] = 0.9f;
  told(heavy, "probabilities above 1 in all are told");
  const auto refused = [&](const auto& change, const char* what) {
    Expect(run(data, change) == kSoftpackInvalidArgument, std::string("tokens: ") + what);
  };
  refused([](SoftpackTokenLabels& own) { own.columns = own.vocabulary - 1; }, "too few columns");
  refused([](SoftpackTokenLabels& own) { own.width = 5000; }, "too many entries");
  refused([](SoftpackTokenLabels& own) { own.tail = 2; }, "an unknown tail");
  refused([](SoftpackTokenLabels& own) { own.vocabulary = 0; }, "no vocabulary");
}

// Masked tokens have -inf; what is not listed decides the loss all the same.
void CheckOddLogits(bool on_device) {
  const TokenCase& shape = kTokens[1];
  TokenData data(shape, 10);
  const auto unlisted = [&](uint64_t t) -> float& {
    const uint64_t token = static_cast<uint64_t>(data.ids[t * shape.width]) + 1;
    return data.logits[t * shape.columns + token % shape.vocabulary];
  };
  for (uint64_t t = 0; t < shape.positions; ++t) unlisted(t) = -INFINITY;
  const auto same = [](float value) { return value; };
  CheckKl<float>(shape, data, kSoftpackFloat32, on_device, true, same, same);
  unlisted(0) = NAN;
  TokenArrays there(shape, data, on_device);
  Array<float> logits(data.logits, on_device), losses(Poisoned<float>(shape.positions), on_device);
  SoftpackDecodeKlArgs args = {};
  args.labels.count = shape.positions;
  args.logits = logits.get();
  args.losses = losses.get();
  args.tau = args.scale = 1;
  const int status = module->token_kl(&there.labels, &args, kSoftpackFloat32);
  const auto found = losses.Read();
  Expect(status == kSoftpackOk && std::isnan(found[0]) && std::isfinite(found[2]),
         "tokens: a logit that is no number is not passed over");
}

// More tokens than a range of the teacher's logits holds.
void CheckRanges(bool on_device) {
  if (brief || (emulated && on_device)) return;
  // Whatever the emulated device keeps in L2; a GPU's holds them all.
  const TokenCase shape = {Teacher::kHidden, 100, 1500, 1500, 3, 1.0f};
  const auto same = [](float value) { return value; };
  CheckKl<float>(shape, TokenData(shape, 12), kSoftpackFloat32, on_device, false, same, same);
}

}  // namespace

void CheckTokens(bool on_device) {
  uint32_t seed = 500;
  for (const TokenCase& shape : kTokens) {
    const TokenData data(shape, ++seed);
    if (brief && (shape.vocabulary == 1 || shape.vocabulary == 1000)) continue;
    CheckSlopes(shape, data,
                "tokens by " + std::string(kTeacherNames[static_cast<int>(shape.teacher)]));
    const auto same = [](float value) { return value; };
    for (const bool in_place : {false, true}) {
      CheckKl<float>(shape, data, kSoftpackFloat32, on_device, in_place, same, same);
    }
    CheckKl<uint16_t>(shape, data, kSoftpackFloat16, on_device, true, FloatToHalf, HalfToFloat);
    CheckKl<uint16_t>(
        shape, data, kSoftpackBfloat16, on_device, false, scalar::FloatToBfloat,
        [](uint16_t bits) { return scalar::FloatOf(static_cast<uint32_t>(bits) << 16); });
  }
  CheckRanges(on_device);
  CheckOddLogits(on_device);
  CheckWrongTokens(on_device);
}

}  // namespace testing
}  // namespace softpack
