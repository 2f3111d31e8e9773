#include "cuda_tokens_check.h"

#include <cmath>

#include "core/half.h"
#include "core/scalar_math.h"
#include "cuda_harness.h"
#include "cuda_tokens_reference.h"

namespace softpack {
namespace testing {
namespace {

const char* const kTeacherNames[] = {"entries", "ghost", "hidden", "uniform", "prior"};

constexpr TokenCase kTokens[] = {
    {Teacher::kWhole, 3, 1, 1, 1, 1.0f},
    {Teacher::kWhole, 5, 300, 304, 7, 1.0f},
    {Teacher::kWhole, 4, 1000, 1000, 20, 2.5f},
    {Teacher::kGhost, 6, 257, 260, 9, 1.0f},
    {Teacher::kHidden, 3, 70, 70, 5, 1.0f},
    {Teacher::kHidden, 2, 300, 320, 33, 3.0f},
    {Teacher::kUniform, 4, 300, 304, 7, 1.0f},
    {Teacher::kPrior, 3, 257, 260, 9, 1.0f},
    {Teacher::kUniform, 3, 60, 60, 5, 1.0f, kSoftpackDivergenceReverse},
    {Teacher::kPrior, 3, 257, 260, 9, 1.0f, kSoftpackDivergenceReverse},
    {Teacher::kPrior, 4, 257, 257, 9, 1.0f, kSoftpackDivergenceJsd, 0.3f},
    {Teacher::kHidden, 3, 70, 72, 5, 2.0f, kSoftpackDivergenceReverse},
    {Teacher::kHidden, 2, 300, 320, 33, 1.0f, kSoftpackDivergenceJsd, 0.6f},
    {Teacher::kHidden, 3, 70, 72, 5, 1.0f, kSoftpackDivergenceForward, 0, 1},
    {Teacher::kHidden, 5, 300, 320, 33, 3.0f, kSoftpackDivergenceForward, 0, 4},
    {Teacher::kHidden, 4, 300, 300, 7, 2.0f, kSoftpackDivergenceReverse, 0, 4},
    {Teacher::kHidden, 4, 300, 300, 7, 1.0f, kSoftpackDivergenceJsd, 0.3f, 9},
};

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
  Array<int32_t> ids, corrected_ids;
  Array<float> corrections, probabilities, hidden, head, prior;
  Array<uint8_t> counts;
  SoftpackTokenLabels labels = {};

  TokenArrays(const TokenCase& shape, const TokenData& data, bool on_device)
      : ids(data.ids, on_device),
        corrected_ids(data.corrected_ids, on_device),
        corrections(data.corrections, on_device),
        probabilities(data.probabilities, on_device),
        hidden(data.hidden, on_device),
        head(data.head, on_device),
        prior(data.prior, on_device),
        counts(data.counts, on_device) {
    labels.ids = ids.get();
    labels.probabilities = probabilities.get();
    labels.tail = shape.tail();
    if (shape.teacher == Teacher::kPrior) labels.prior = prior.get();
    labels.divergence = shape.divergence;
    labels.beta = shape.beta;
    if (shape.teacher == Teacher::kHidden) {
      labels.hidden = hidden.get();
      labels.head = head.get();
      labels.corrected_ids = corrected_ids.get();
      labels.corrections = corrections.get();
      labels.corrected = shape.corrected;
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
  const bool entropy = in_place || shape.divergence != kSoftpackDivergenceForward;
  const std::string name = std::string("tokens by ") +
                           kTeacherNames[static_cast<int>(shape.teacher)] + ", " +
                           std::to_string(shape.vocabulary) + ", divergence " +
                           std::to_string(shape.divergence) + ", type " + std::to_string(type) +
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
    // Slopes of the forward divergence are differences of probabilities, others times logarithms.
    const double least = shape.divergence == kSoftpackDivergenceForward ? 4e-6 : 4e-6 * (1 + value);
    for (uint64_t j = 0; j < shape.columns; ++j) {
      const double slope = static_cast<double>(widen(slopes[t * shape.columns + j])) / kScale;
      const double unit = type == kSoftpackFloat32   ? 0
                          : type == kSoftpackFloat16 ? 0x1p-11
                                                     : 0x1p-8;
      const double bound = least + unit * std::fabs(expected[j]);
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
    args.loss = kSoftpackLossKl;
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
  refused([](SoftpackTokenLabels& own) { own.tail = 4; }, "an unknown tail");
  refused([](SoftpackTokenLabels& own) { own.tail = kSoftpackTailPrior; }, "no prior");
  refused([](SoftpackTokenLabels& own) { own.divergence = kSoftpackDivergenceReverse; },
          "the reverse divergence of a ghost");
  const auto spread = [](uint32_t divergence, float beta) {
    return [=](SoftpackTokenLabels& own) {
      own.tail = kSoftpackTailUniform;
      own.divergence = divergence;
      own.beta = beta;
    };
  };
  refused(spread(3, 0.5f), "an unknown divergence");
  for (const float beta : {0.0f, 1.0f, -1.0f, NAN}) {
    refused(spread(kSoftpackDivergenceJsd, beta), "a beta that is no share");
  }
  for (const float weight : {0.0f, -1.0f, NAN, INFINITY}) {
    std::vector<float> weights(shape.vocabulary, 1.0f);
    weights[5] = weight;
    Array<float> prior(weights, on_device);
    refused(
        [&](SoftpackTokenLabels& own) {
          own.tail = kSoftpackTailPrior;
          own.prior = prior.get();
        },
        "a prior that is not above 0");
  }
  refused([](SoftpackTokenLabels& own) { own.vocabulary = 0; }, "no vocabulary");
}

void CheckNoNumber(const TokenCase& shape, const TokenData& data, bool on_device) {
  TokenArrays there(shape, data, on_device);
  Array<float> logits(data.logits, on_device), losses(Poisoned<float>(shape.positions), on_device);
  SoftpackDecodeKlArgs args = {};
  args.labels.count = shape.positions;
  args.logits = logits.get();
  args.losses = losses.get();
  args.tau = args.scale = 1;
  args.loss = kSoftpackLossKl;
  const int status = module->token_kl(&there.labels, &args, kSoftpackFloat32);
  const auto found = losses.Read();
  Expect(status == kSoftpackOk && std::isnan(found[0]) && std::isfinite(found[2]),
         "tokens: a logit that is no number is not passed over");
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
  CheckNoNumber(shape, data, on_device);
  for (const TokenCase& spread : kTokens) {
    if (!spread.spread()) continue;
    TokenData odd(spread, 11);
    odd.logits[3] = NAN;
    CheckNoNumber(spread, odd, on_device);
  }
}

// More tokens than a range of the teacher's logits holds.
void CheckRanges(bool on_device) {
  if (brief || (emulated && on_device)) return;
  // Whatever the emulated device keeps in L2; a GPU's holds them all.
  const TokenCase shapes[] = {
      {Teacher::kHidden, 100, 1500, 1500, 3, 1.0f},
      {Teacher::kHidden, 100, 1500, 1500, 3, 1.0f, kSoftpackDivergenceReverse},
      {Teacher::kHidden, 100, 1500, 1500, 3, 1.0f, kSoftpackDivergenceForward, 0, 4},
      // And than listed ones have bits in shared memory.
      {Teacher::kUniform, 2, 150000, 150000, 30, 1.0f},
  };
  const auto same = [](float value) { return value; };
  for (const TokenCase& shape : shapes) {
    CheckKl<float>(shape, TokenData(shape, 12), kSoftpackFloat32, on_device, false, same, same);
  }
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
