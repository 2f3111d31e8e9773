// Between logits and the integers that core/rans.h codes: centring, dependent quantisation by a
// trellis search, and back. All in float64, each sum in one order, so the results depend on neither
// instruction set nor threads.
//
// Index k of a component stands for a multiple m of `unit`: without a trellis m = k; with one the
// state of the label's walk along its components selects between m = 2 k (context 0) and
// m = 2 k - sign(k) (context 1). Its value is m, moved towards zero by shift / 128, times `unit`.
#ifndef SOFTPACK_CORE_QUANTISER_H_
#define SOFTPACK_CORE_QUANTISER_H_

#include <stdint.h>

#include "core/rans.h"

namespace softpack {

constexpr double kShiftUnit = 128;
// Sizes of values in units end here, and NaN counts as this: far outside of what a table lists.
constexpr double kMostUnits = 60000;

// out = max(logit, most of its row - depth) - the mean of these in its row - mean.
struct CentreArgs {
  const float* logits;  // [rows, classes]
  const float* mean;    // [classes], or null for zeros
  float* out;           // [rows, classes]
  uint64_t rows;
  uint64_t classes;
  double depth;
  uint32_t threads;
};

// The indices of labels whose squared error in units plus cost is least, by Viterbi's algorithm.
struct QuantiseArgs {
  const float* values;   // [labels, rank]
  const int8_t* shifts;  // [rank]
  const double* costs;   // [rank, 2, 256] by context and index + 128; 0 for indices beyond 127
  int16_t* out;          // [labels, rank]
  uint64_t labels;
  uint64_t rank;
  double unit;
  uint32_t trellis;  // states: 4 or 8
  uint32_t threads;
};

struct DequantiseArgs {
  const int16_t* indices;  // [rank, labels], as a stream holds them
  const int8_t* shifts;    // [rank]
  float* out;              // [labels, rank]
  uint64_t labels;
  uint64_t rank;
  double unit;
  uint32_t trellis;  // states: 1, 4 or 8
  uint32_t threads;
};

struct KernelTable;

// Each returns a status; kSoftpackInvalidArgument for a number of states that there is no trellis
// for.
int Centre(const KernelTable& table, const CentreArgs& args);
int Quantise(const KernelTable& table, const QuantiseArgs& args);
int Dequantise(const KernelTable& table, const DequantiseArgs& args);

}  // namespace softpack

#endif  // SOFTPACK_CORE_QUANTISER_H_
