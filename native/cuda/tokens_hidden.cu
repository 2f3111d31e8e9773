// Losses of hidden states: the teacher's logits are a float32 product with its output matrix, made
// for a range of tokens at a time, and corrected at the few ids that labels name. A first round
// over the vocabulary gives the loss, by sums that are scaled anew where a greater value appears;
// another one, for the gradient, makes the logits again unless one range holds them all.
// Divergences other than the forward one take a round between them, as they are of probabilities.
//
// Counted per position at 50,257 tokens and 576 elements: 58 MFLOP of float32 a round, 1.1 us at an
// H100's 51 TFLOP/s; 400 kB of teacher and student read a round.
#include "cuda/divergence.h"
#include "cuda/project.h"
#include "cuda/tokens.h"

namespace softpack {
namespace {

// Of a position over the tokens so far: the teacher's greatest t and sums of e = exp(t - greatest),
// e (t - greatest) and e (z - student's greatest); the student's greatest z and sum of
// exp(z - greatest).
struct HiddenSums {
  float teacher_most, weights, own, mixed;
  float student_most, student;
  // Of other divergences than the forward one: the value, and the mean of its derivatives.
  float value, mean;
};
static_assert(sizeof(HiddenSums) == kHiddenSums * sizeof(float), "sums of a position");

struct HiddenParams {
  SoftpackTokenLabels labels;
  RowTarget target;
  float* teacher;
  uint64_t teacher_stride;
  HiddenSums* sums;
  uint64_t first;  // token
  uint64_t count;
};

// Both sides of a token, divided by the temperature.
template <class Element>
__device__ __forceinline__ float Student(const HiddenParams& params, const Element& element,
                                         uint64_t position, uint64_t j) {
  const uint64_t at = position * params.labels.columns + params.first + j;
  return element.Load(params.target.logits, at) * params.target.inverse_tau;
}
__device__ __forceinline__ float Teacher(const HiddenParams& params, uint64_t position,
                                         uint64_t j) {
  return params.teacher[position * params.teacher_stride + j] * params.target.inverse_tau;
}

// Sums relative to other, greater values.
__device__ inline HiddenSums Rescaled(const HiddenSums& sums, float teacher_most,
                                      float student_most) {
  const float teacher = sums.teacher_most - teacher_most,
              student = sums.student_most - student_most;
  const float factor = scalar::Exp(teacher);
  return {teacher_most,
          sums.weights * factor,
          (sums.own + sums.weights * teacher) * factor,
          (sums.mixed + sums.weights * student) * factor,
          student_most,
          sums.student * scalar::Exp(student),
          0.0f,
          0.0f};
}

template <class Element>
__device__ void SumRow(const HiddenParams& params, uint64_t position, float* shared,
                       const Element& element) {
  const bool begins = params.first == 0;
  const HiddenSums before = begins ? HiddenSums{} : params.sums[position];
  float teacher_most = begins ? -Infinity() : before.teacher_most;
  float student_most = begins ? -Infinity() : before.student_most;
  for (uint64_t j = threadIdx.x; j < params.count; j += kTokenThreads) {
    teacher_most = Greater(teacher_most, Teacher(params, position, j));
    student_most = Greater(student_most, Student(params, element, position, j));
  }
  teacher_most = GreatestOfBlock(teacher_most, shared);
  student_most = GreatestOfBlock(student_most, shared);
  HiddenSums own = {teacher_most, 0, 0, 0, student_most, 0, 0, 0};
  for (uint64_t j = threadIdx.x; j < params.count; j += kTokenThreads) {
    const float t = Teacher(params, position, j) - teacher_most;
    const float z = Student(params, element, position, j) - student_most;
    const float e = scalar::Exp(t);
    own.weights += e;
    own.own += e * t;
    own.mixed += e * z;
    own.student += scalar::Exp(z);
  }
  own.weights = SumOfBlock(own.weights, shared);
  own.own = SumOfBlock(own.own, shared);
  own.mixed = SumOfBlock(own.mixed, shared);
  own.student = SumOfBlock(own.student, shared);
  if (threadIdx.x != 0) return;
  if (!begins) {
    const HiddenSums scaled = Rescaled(before, teacher_most, student_most);
    own.weights += scaled.weights;
    own.own += scaled.own;
    own.mixed += scaled.mixed;
    own.student += scaled.student;
  }
  params.sums[position] = own;
  const bool ends = params.first + params.count == params.labels.vocabulary;
  const bool forward = params.labels.divergence == kSoftpackDivergenceForward;
  if (!ends || !forward || params.target.losses == nullptr) return;
  float loss = scalar::Log(own.student) - own.mixed / own.weights;
  if (params.target.entropy) loss += own.own / own.weights - scalar::Log(own.weights);
  params.target.losses[position] = loss;
}

__global__ void __launch_bounds__(kTokenThreads) SumKernel(HiddenParams params) {
  const uint64_t position = blockIdx.x;
  if (!Counts(params.labels, params.target, position)) return;
  WithElement(params.target.logits_type,
              [&](auto element) { SumRow(params, position, SharedMemory<float>(), element); });
}

// Both sides as probabilities, by the sums over the whole vocabulary.
class Probabilities {
 public:
  __device__ explicit Probabilities(const HiddenSums& sums)
      : sums_(sums),
        log_teacher_(scalar::Log(sums.weights)),
        log_student_(scalar::Log(sums.student)) {}
  __device__ TokenSides Of(float t, float z) const {
    // Not less a sum of the two: the greatest probabilities would lose digits.
    const float log_p = t - sums_.teacher_most - log_teacher_;
    const float log_q = z - sums_.student_most - log_student_;
    return {ShareOf(log_p), log_p, ShareOf(log_q), log_q};
  }

 private:
  const HiddenSums sums_;
  const float log_teacher_;
  const float log_student_;
};

__device__ inline Divergence DivergenceOf(const HiddenParams& params) {
  return {params.labels.divergence, params.labels.beta, true};
}

__global__ void __launch_bounds__(kTokenThreads) DistanceKernel(HiddenParams params) {
  const uint64_t position = blockIdx.x;
  const SoftpackTokenLabels& labels = params.labels;
  if (labels.counts != nullptr && labels.counts[position] == 0) return;
  const Divergence divergence = DivergenceOf(params);
  const HiddenSums sums = params.sums[position];
  const Probabilities probabilities(sums);
  float value = 0.0f, mean = 0.0f;
  WithElement(params.target.logits_type, [&](auto element) {
    for (uint64_t j = threadIdx.x; j < params.count; j += kTokenThreads) {
      const TokenSides sides =
          probabilities.Of(Teacher(params, position, j), Student(params, element, position, j));
      const TokenTerm term = TermOf(divergence, sides);
      value += term.value;
      mean += sides.q * term.slope;
    }
  });
  value = sums.value + SumOfBlock(value, SharedMemory<float>());
  mean = sums.mean + SumOfBlock(mean, SharedMemory<float>());
  if (threadIdx.x != 0) return;
  params.sums[position].value = value;
  params.sums[position].mean = mean;
  if (params.target.losses != nullptr) params.target.losses[position] = value;
}

__global__ void __launch_bounds__(kTokenThreads) SlopeKernel(HiddenParams params) {
  const uint64_t position = blockIdx.x;
  const SoftpackTokenLabels& labels = params.labels;
  if (labels.counts != nullptr && labels.counts[position] == 0) return;
  const HiddenSums sums = params.sums[position];
  const float scale = params.target.gradient_scale;
  const float student = scale / sums.student, teacher = scale / sums.weights;
  const bool ends = params.first + params.count == labels.vocabulary;
  const uint64_t columns = ends ? labels.columns - params.first : params.count;
  const Divergence divergence = DivergenceOf(params);
  const bool forward = divergence.kind == kSoftpackDivergenceForward;
  const Probabilities probabilities(sums);
  WithElement(params.target.logits_type, [&](auto element) {
    for (uint64_t j = threadIdx.x; j < columns; j += kTokenThreads) {
      float slope = 0.0f;
      if (j < params.count) {
        const float z = Student(params, element, position, j);
        const float t = Teacher(params, position, j);
        slope = forward ? scalar::Exp(z - sums.student_most) * student -
                              scalar::Exp(t - sums.teacher_most) * teacher
                        : LogitSlope(divergence, probabilities.Of(t, z), sums.mean) * scale;
      }
      element.Store(params.target.gradient, position * labels.columns + params.first + j, slope);
    }
  });
}

// Adds corrections to the logits of this range. A position's ids differ but for entries without
// use, which are passed over: no two threads add to one logit.
__global__ void __launch_bounds__(kTokenThreads) CorrectKernel(HiddenParams params) {
  const SoftpackTokenLabels& labels = params.labels;
  const uint64_t position = blockIdx.x;
  for (uint64_t e = threadIdx.x; e < labels.corrected; e += kTokenThreads) {
    const uint64_t entry = position * labels.corrected + e;
    const float correction = labels.corrections[entry];
    const int64_t at =
        static_cast<int64_t>(labels.corrected_ids[entry]) - static_cast<int64_t>(params.first);
    if (correction == 0.0f || at < 0 || at >= static_cast<int64_t>(params.count)) continue;
    params.teacher[position * params.teacher_stride + static_cast<uint64_t>(at)] += correction;
  }
}

void MakeTeacher(Operation& operation, const HiddenParams& params) {
  const uint64_t width = params.labels.width;
  ProductParams product = {};
  product.a = {params.labels.hidden, width, 1, params.target.count};
  product.b = {params.labels.head + params.first * width, width, 1, params.count};
  product.out = params.teacher;
  product.out_stride = params.teacher_stride;
  product.inner = width;
  RunProduct(operation, product);
  if (params.labels.corrected == 0) return;
  const LaunchShape shape = {static_cast<unsigned>(params.target.count), kTokenThreads, 0};
  operation.Run("corrected logits", CorrectKernel, shape, params);
}

}  // namespace

void RunHiddenTokens(Operation& operation, const SoftpackTokenLabels& labels,
                     const RowTarget& target, const HiddenWorking& working) {
  HiddenParams params = {
      labels, target, working.teacher, working.columns, reinterpret_cast<HiddenSums*>(working.sums),
      0,      0};
  const bool one_range = labels.vocabulary <= working.columns;
  const LaunchShape shape = {static_cast<unsigned>(target.count), kTokenThreads,
                             kTokenWarps * sizeof(float)};
  void (*const rounds[])(HiddenParams) = {SumKernel, DistanceKernel, SlopeKernel};
  for (const auto kernel : rounds) {
    if (kernel == DistanceKernel && labels.divergence == kSoftpackDivergenceForward) continue;
    if (kernel == SlopeKernel && target.gradient == nullptr) return;
    for (uint64_t first = 0; operation.ok() && first < labels.vocabulary;
         first += working.columns) {
      const uint64_t left = labels.vocabulary - first;
      params.first = first;
      params.count = left < working.columns ? left : working.columns;
      if (kernel == SumKernel || !one_range) MakeTeacher(operation, params);
      operation.Run("losses of hidden states", kernel, shape, params);
    }
  }
}

}  // namespace softpack
