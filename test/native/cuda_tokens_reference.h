// Losses of tokens in float64, by their definitions.
#ifndef SOFTPACK_TESTING_CUDA_TOKENS_REFERENCE_H_
#define SOFTPACK_TESTING_CUDA_TOKENS_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <vector>

#include "cuda_tokens_data.h"

namespace softpack {
namespace testing {

inline double XLog(double x, double y) { return x == 0 ? 0 : x * std::log(y); }

// A token's part of a divergence that asks for its probability, and its derivative by q.
inline double TermOf(const TokenCase& shape, double p, double q, double* slope) {
  if (shape.divergence == kSoftpackDivergenceReverse) {
    *slope = std::log(q / p);
    return q * *slope;
  }
  const double beta = static_cast<double>(shape.beta), mixed = beta * p + (1 - beta) * q;
  *slope = (1 - beta) * std::log(q / mixed);
  return beta * XLog(p, p / mixed) + q * *slope;
}

// What entries leave, over the tokens that they do not list.
inline void Spread(const TokenCase& shape, const TokenData& data, uint64_t t,
                   std::vector<double>* p) {
  double sum = 0, unlisted = 0;
  std::vector<bool> listed(shape.vocabulary);
  for (uint64_t e = t * shape.width; e < (t + 1) * shape.width; ++e) {
    if (data.probabilities[e] == 0) continue;
    sum += static_cast<double>(data.probabilities[e]);
    listed[static_cast<uint64_t>(data.ids[e])] = true;
  }
  const auto prior = [&](uint64_t j) {
    return data.prior.empty() ? 1.0 : static_cast<double>(data.prior[j]);
  };
  for (uint64_t j = 0; j < shape.vocabulary; ++j) unlisted += listed[j] ? 0 : prior(j);
  const bool reverse = shape.divergence == kSoftpackDivergenceReverse;
  const double rest = std::max(1 - sum, reverse ? 0x1p-20 : 0.0);
  for (uint64_t j = 0; j < shape.vocabulary; ++j) {
    if (!listed[j]) (*p)[j] = rest * prior(j) / unlisted;
    if (listed[j] && sum > 1) (*p)[j] /= sum;
  }
}

// The distance of a position and its slopes, by the definitions: an outcome for each token or, with
// a ghost, for each entry and one for all other tokens.
inline double Reference(const TokenCase& shape, const TokenData& data, uint64_t t, bool entropy,
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
    for (uint64_t e = t * shape.corrected; e < (t + 1) * shape.corrected; ++e) {
      p[static_cast<uint64_t>(data.corrected_ids[e])] +=
          static_cast<double>(data.corrections[e]) / shape.tau;
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
    } else if (shape.spread()) {
      Spread(shape, data, t, &p);
    } else {
      rest = 1 - sum;
      for (uint64_t j = 0; j < vocabulary; ++j) outside += p[j] == 0 ? q[j] : 0;
    }
  }
  if (shape.divergence != kSoftpackDivergenceForward) {
    double value = 0, mean = 0;
    slopes->assign(vocabulary, 0.0);
    for (uint64_t j = 0; j < vocabulary; ++j) {
      value += TermOf(shape, p[j], q[j], &(*slopes)[j]);
      mean += q[j] * (*slopes)[j];
    }
    for (uint64_t j = 0; j < vocabulary; ++j) {
      (*slopes)[j] = q[j] * ((*slopes)[j] - mean) / shape.tau;
    }
    return value;
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

}  // namespace testing
}  // namespace softpack

#endif  // SOFTPACK_TESTING_CUDA_TOKENS_REFERENCE_H_
